# writers.pl FOLDER ROOT-FOLDER - write in five ways at once; tell on the console what cannot be lost
#
# Each line "@ WRITER NUMBER" is printed when fsync (or a synchronous write) has returned, not
# before. What each must have left behind is said in kill_test.py.
use strict;
use warnings;
use Fcntl qw(:DEFAULT :seek);
use IO::Handle;

my ($folder, $root_folder) = @ARGV;
my ($fallocate_call, $punch_hole) = (285, 3);

sub tell_done {
	my ($writer, $number) = @_;
	syswrite(STDOUT, "@ $writer $number\n");
}

sub pattern {
	my ($tag, $bytes) = @_;
	return substr("$tag\n" x ($bytes / (length($tag) + 1) + 1), 0, $bytes);
}

sub sync_folder {
	my ($path) = @_;
	sysopen(my $handle, $path, O_RDONLY | O_DIRECTORY) or die "$path: $!";
	$handle->sync or die "fsync $path: $!";
}

sub write_file {
	my ($path, $bytes) = @_;
	sysopen(my $file, $path, O_WRONLY | O_CREAT | O_EXCL) or die "$path: $!";
	syswrite($file, $bytes) == length($bytes) or die "write $path: $!";
	$file->sync or die "fsync $path: $!";
}

# Small files that stay.
sub small {
	my ($writer, $path) = @_;
	mkdir($path) or die "$path: $!";
	for (my $n = 1; $n <= 3000; $n++) {
		write_file("$path/$n", pattern("$writer $n", $n * 7919 % 12000 + 1));
		sync_folder($path);
		tell_done($writer, $n);
	}
}

# Records of 4 KiB in one file, each sector with its number, over and over.
sub overwrite {
	my ($writer, $path) = @_;
	write_file($path, "\0" x (1 << 20));
	sysopen(my $plain, $path, O_WRONLY) or die "$path: $!";
	sysopen(my $synchronous, $path, O_WRONLY | O_DSYNC) or die "$path: $!";
	for (my $n = 1;; $n++) {
		my $file = $n % 2 ? $plain : $synchronous;
		my $sector = "$writer $n\n";
		$sector .= "\0" x (512 - length($sector));
		sysseek($file, $n * 37 % 256 * 4096, SEEK_SET);
		syswrite($file, $sector x 8) == 4096 or die "write $path: $!";
		$file != $plain or $file->sync or die "fsync $path: $!";
		tell_done($writer, $n);
	}
}

# Files that come (D) and go (X).
sub come_and_go {
	my ($writer, $path) = @_;
	mkdir($path) or die "$path: $!";
	for (my $n = 1;; $n++) {
		write_file("$path/$n", pattern("$writer $n", $n * 104729 % 70000 + 1));
		sync_folder($path);
		tell_done($writer, $n);
		next if $n <= 5;
		unlink("$path/" . ($n - 5)) or die "unlink: $!";
		sync_folder($path);
		tell_done('X', $n - 5);
	}
}

# Preallocated files with 12 KiB of data, of which 4 KiB are made a hole again.
sub preallocate {
	my ($writer, $path) = @_;
	mkdir($path) or die "$path: $!";
	for (my $n = 1; $n <= 400; $n++) {
		my $at = $n % 3 * 32768;
		sysopen(my $file, "$path/$n", O_WRONLY | O_CREAT | O_EXCL) or die "$path/$n: $!";
		syscall($fallocate_call, fileno($file), 0, 0, 131072) == 0 or die "fallocate: $!";
		sysseek($file, $at, SEEK_SET);
		syswrite($file, pattern("$writer $n", 12288)) == 12288 or die "write $path/$n: $!";
		syscall($fallocate_call, fileno($file), $punch_hole, $at + 4096, 4096) == 0
			or die "punch: $!";
		$file->sync or die "fsync $path/$n: $!";
		sync_folder($path);
		tell_done($writer, $n);
	}
}

sub start {
	my ($work, @arguments) = @_;
	my $child = fork();
	return if $child;
	eval { $work->(@arguments) };
	syswrite(STDOUT, "\nwriter failed: $@") if $@;
	exit 0;
}

mkdir($folder) or die "$folder: $!";
mkdir($root_folder) or die "$root_folder: $!";
sync_folder("$folder/..");
sync_folder("$root_folder/..");
start(\&small, 'S', "$folder/S");
start(\&small, 'R', "$root_folder/R");
start(\&overwrite, 'O', "$folder/O");
start(\&come_and_go, 'D', "$folder/D");
start(\&preallocate, 'F', "$folder/F");
1 while wait() > 0;
