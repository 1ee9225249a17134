/*
 * commands.c - the command table
 */
#include "command.h"

#include <string.h>

#include "run_options.h"

const struct exit_code_row run_exit_codes[] = {
	{EXIT_OK,
	 "The guest powered off, or reset with --no-reboot, or the user ended it: Ctrl-] q, or "
	 "mullion ctl with stop."},
	{EXIT_FAILED, "The operation failed, or a signal (SIGINT, SIGTERM, SIGHUP) ended the run."},
	{EXIT_USAGE, "The command line was wrong."},
	{EXIT_HOST_CANNOT,
	 "This host cannot do it: too little memory, no permission, no such engine here."},
	{EXIT_GUEST_CRASHED,
	 "The guest crashed (triple fault); the report names the processor, RIP, "
	 "CR2 and the last exception."},
	{}};

const struct exit_code_row usual_exit_codes[] = {
	{EXIT_OK, "Done."},
	{EXIT_FAILED, "It could not be done; one line on standard error says why."},
	{EXIT_USAGE, "The command line was wrong."},
	{EXIT_HOST_CANNOT, "This host cannot do it: too little memory, no permission."},
	{}};

static const char *const accel_words[] = {"auto", "dbt", "kvm", NULL};
static const char *const hypervisor_words[] = {"hyper-v", "none", NULL};
static const char *const serial_words[] = {"stdio", "pty", "file:", "none", NULL};
/* In the order of PARTITION_TRACE_*. */
static const char *const trace_words[] = {"exits",  "exceptions", "interrupts",
					  "blocks", "mmu",	  NULL};
static const char *const shell_words[] = {"bash", NULL};

#define AT(member) offsetof(struct run_options, member)

const struct option_row run_options[] = {
	{.name = "kernel",
	 .argument = "FILE",
	 .type = OPTION_FILE,
	 .offset = AT(kernel),
	 .required = true,
	 .help = "Kernel to boot: a Linux bzImage, an ELF kernel with a PVH note, or a multiboot 1 "
		 "image"},
	{.name = "initrd",
	 .argument = "FILE",
	 .type = OPTION_FILES,
	 .offset = AT(initrds),
	 .help = "Initial RAM disk, or a module for a multiboot kernel; may be given several "
		 "times"},
	{.name = "append",
	 .argument = "STRING",
	 .type = OPTION_TEXT,
	 .offset = AT(append),
	 .preset = "",
	 .help = "Command line for the kernel"},
	{.name = "memory",
	 .argument = "SIZE",
	 .type = OPTION_SIZE,
	 .offset = AT(memory_bytes),
	 .preset = "512M",
	 .min = MIB,
	 .help = "The guest's memory; takes K, M, G or T"},
	{.name = "cpus",
	 .argument = "N",
	 .type = OPTION_NUMBER,
	 .offset = AT(cpus),
	 .preset = "1",
	 .min = 1,
	 .max = 64,
	 .help = "Number of virtual processors, 1 to 64"},
	{.name = "accel",
	 .argument = "ENGINE",
	 .type = OPTION_CHOICE,
	 .offset = AT(accel),
	 .preset = "auto",
	 .words = accel_words,
	 .help = "Engine that runs the guest: auto (kvm where it is usable, else dbt), dbt "
		 "(Mullion's software CPU), or kvm"},
	{.name = "disk",
	 .argument = "FILE",
	 .type = OPTION_FILES,
	 .offset = AT(disks),
	 .help = "Hard disk: a VHD, VHDX or raw image, to be written unless ,read-only (or ,readonly) "
		 "follows its name. Further: "
		 ",bus=scsi (as without it) or ,bus=ide ,controller=N ,lun=N (else the first free "
		 "one) ,format=auto|raw|vhd|vhdx|vmdk|qcow2. May be given several times"},
	{.name = "dvd",
	 .argument = "FILE",
	 .type = OPTION_FILES,
	 .offset = AT(dvds),
	 .help = "DVD drive on a SCSI controller with an ISO image in it; what --disk takes may "
		 "follow the "
		 "name. May be given several times"},
	{.name = "hypervisor",
	 .argument = "WHICH",
	 .type = OPTION_CHOICE,
	 .offset = AT(hypervisor),
	 .preset = "hyper-v",
	 .words = hypervisor_words,
	 .help = "What the guest finds below it: hyper-v (Hyper-V's interface with VMBus), or "
		 "none (a bare PC; no disks)"},
	{.name = "control",
	 .argument = "PATH",
	 .type = OPTION_FILE,
	 .offset = AT(control),
	 .help = "Make a control socket at PATH, for mullion ctl"},
	{.name = "no-reboot",
	 .type = OPTION_FLAG,
	 .offset = AT(no_reboot),
	 .help = "End when the guest resets, instead of booting the kernel again"},
	{.name = "debug-exit",
	 .argument = "PORT",
	 .type = OPTION_NUMBER,
	 .offset = AT(debug_exit),
	 .max = 0xffff,
	 .help = "A guest write of V to this I/O port ends the run with status (V<<1)|1"},
	{.name = "serial",
	 .argument = "WHERE",
	 .type = OPTION_CHOICE,
	 .offset = AT(serial),
	 .preset = "stdio",
	 .words = serial_words,
	 .help = "The guest's first serial port: stdio, pty (a new pseudoterminal, whose name is "
		 "shown), file:PATH (output only), or none"},
	{.name = "trace",
	 .argument = "LIST",
	 .type = OPTION_SET,
	 .offset = AT(trace),
	 .words = trace_words,
	 .help = "Show on standard error what the guest does: a comma-separated list of exits, "
		 "exceptions, interrupts, blocks, mmu"},
	{.name = "stats",
	 .type = OPTION_FLAG,
	 .offset = AT(stats),
	 .help = "At the end, show the engine's counters on standard error"},
	{.name = "verbose",
	 .type = OPTION_FLAG,
	 .offset = AT(verbose),
	 .help = "Also show what only matters when looking for a defect"},
	{}};

const struct option_row host_options[] = {{.name = "json",
					   .type = OPTION_FLAG,
					   .offset = offsetof(struct host_options, json),
					   .help = "Print JSON instead of text"},
					  {}};

static const char *const pool_words[] = {"external", "guest", "auto", "auto-external", NULL};
static const char *const bus_words[] = {"scsi", "ide", NULL};
static const char *const format_words[] = {"auto", "raw", "vhd", NULL};

#define CTL(member) offsetof(struct ctl_options, member)

const struct option_row ctl_options[] = {
	{.name = "json",
	 .type = OPTION_FLAG,
	 .offset = CTL(json),
	 .help = "Print the machine's answer as it is, in JSON"},
	{.name = "reboot",
	 .type = OPTION_FLAG,
	 .offset = CTL(reboot),
	 .help = "shutdown: and then start again"},
	{.name = "hibernate",
	 .type = OPTION_FLAG,
	 .offset = CTL(hibernate),
	 .help = "shutdown: with memory saved to the guest's disk"},
	{.name = "force",
	 .type = OPTION_FLAG,
	 .offset = CTL(force),
	 .help = "shutdown: even if programs in the guest object"},
	{.name = "reason",
	 .argument = "TEXT",
	 .type = OPTION_TEXT,
	 .offset = CTL(reason),
	 .help = "shutdown: for the guest's log"},
	{.name = "step",
	 .type = OPTION_FLAG,
	 .offset = CTL(step),
	 .help = "time-sync: set the guest's clock at once, however far off it is"},
	{.name = "pool",
	 .argument = "POOL",
	 .type = OPTION_CHOICE,
	 .offset = CTL(pool),
	 .words = pool_words,
	 .help = "kvp-*: external (from the host), guest, auto (the guest's own description), or "
		 "auto-external; without it auto to read, external to write"},
	{.name = "overwrite",
	 .type = OPTION_FLAG,
	 .offset = CTL(overwrite),
	 .help = "copy-file: replace a file that is already there"},
	{.name = "create-directories",
	 .type = OPTION_FLAG,
	 .offset = CTL(create_directories),
	 .help = "copy-file: make the folders that are missing"},
	{.name = "bus",
	 .argument = "BUS",
	 .type = OPTION_CHOICE,
	 .offset = CTL(bus),
	 .words = bus_words,
	 .help = "disk-*, dvd-*: scsi (as without it) or ide"},
	{.name = "controller",
	 .argument = "N",
	 .type = OPTION_NUMBER,
	 .offset = CTL(controller),
	 .max = 3,
	 .help = "disk-*, dvd-*: 0 to 3; 0 without it"},
	{.name = "lun",
	 .argument = "N",
	 .type = OPTION_NUMBER,
	 .offset = CTL(lun),
	 .max = 63,
	 .help = "disk-*, dvd-*: 0 to 63; disk-add takes the first free one without it"},
	{.name = "format",
	 .argument = "FORMAT",
	 .type = OPTION_CHOICE,
	 .offset = CTL(format),
	 .words = format_words,
	 .help = "disk-add: the image's format (without it auto: as its contents say)"},
	{.name = "read-only",
	 .type = OPTION_FLAG,
	 .offset = CTL(read_only),
	 .help = "disk-add: the guest cannot write"},
	{.name = "dvd",
	 .type = OPTION_FLAG,
	 .offset = CTL(dvd),
	 .help = "disk-add: attach a DVD drive; it is empty without FILE"},
	{}};

static const struct word_row ctl_words[] = {
	{"status", NULL, "Whether the machine runs, for how long, and what guest is in it"},
	{"heartbeat", NULL, "Whether the guest answers"},
	{"services", NULL, "Which integration services the guest has connected"},
	{"shutdown", NULL, "Ask the guest to shut down; answered when it has agreed"},
	{"power-button", NULL, "Press the power button; what follows is up to the guest"},
	{"reset", NULL, "Reset the machine at once, as its reset button would"},
	{"stop", NULL, "End the machine at once, as if unplugged"},
	{"kvp-get", "KEY", "Show one of the guest's key-value pairs, like OSName"},
	{"kvp-list", NULL, "Show all pairs of a pool"},
	{"kvp-set", "KEY VALUE", "Set a pair, which programs in the guest can read"},
	{"kvp-delete", "KEY", "Delete a pair"},
	{"kvp-ip", "MAC",
	 "Show the addresses of the guest's network adapter with that MAC address, which is written "
	 "like 00:15:5d:01:02:03"},
	{"copy-file", "FILE GUEST-PATH", "Copy a file into the guest, to that absolute path"},
	{"freeze", NULL,
	 "Make the guest's file systems consistent and hold their writes, for 60 s at most"},
	{"keep-frozen", NULL, "Let those 60 s begin anew"},
	{"thaw", NULL, "Let the writes go on; fails when the 60 s were over before"},
	{"time-sync", NULL, "Tell the guest the time now"},
	{"disks", NULL, "Show what is attached"},
	{"disk-add", "[FILE]", "Attach a disk, or with --dvd a DVD drive"},
	{"disk-remove", NULL, "Detach the drive at --lun"},
	{"dvd-insert", "FILE", "Put an ISO image into the DVD drive at --lun"},
	{"dvd-eject", NULL, "Empty the DVD drive at --lun"},
	{}};

const struct option_row help_options[] = {{.name = "man",
					   .type = OPTION_FLAG,
					   .offset = offsetof(struct help_options, man),
					   .help = "Print the manual page (roff)"},
					  {}};

#define VHD(member) offsetof(struct vhd_options, member)

static const char *const vhd_actions[] = {"create", "convert", "info", "map", "compare",
					  "read",   "write",   "check", "resize", "compact", "merge",   "mount",  NULL};
static const char *const image_formats[] = {
	"raw",		"vhd-fixed",	      "vhd-dynamic", "vhd-differencing", "vhdx-fixed",
	"vhdx-dynamic", "vhdx-differencing", "vmdk",	     "qcow2",		 NULL};
static const char *const progress_words[] = {"auto", "json", "none", NULL};

static const struct word_row vhd_words[] = {
	{"create", "FILE",
	 "Make a new, empty image, in the format that --format or the name's end says, else "
	 "vhd-dynamic; with --parent a differencing one, which holds the changes to its parent"},
	{"convert", "SOURCE RESULT",
	 "Write the same disk as a new image, parents included, in the format that --format or the "
	 "name's end says. '-' is standard input (raw) or output (raw, vhd-fixed)"},
	{"info", "FILE",
	 "Show what an image is: format, size, id, geometry, creator; with --chain every image of "
	 "its chain"},
	{"map", "FILE", "Show which ranges of the disk are data, in which file and where"},
	{"compare", "FILE FILE",
	 "Do two disks read the same? What one has beyond the other's end must be zeros"},
	{"read", "FILE", "Write bytes of the disk to standard output"},
	{"write", "FILE", "Write standard input into the disk"},
	{"mount", "FILE",
	 "Offer the disk to NBD clients (like qemu-img, nbdcopy, nbd-client) on --socket, until "
	 "SIGINT or SIGTERM"},
	{"check", "FILE",
	 "Is an image sound? With --repair, what a power cut left is put in order. Its parents are "
	 "not looked at"},
	{"resize", "FILE",
	 "Give a raw, vhd-fixed or vhd-dynamic disk another --size. What a smaller one cuts off "
	 "must be empty"},
	{"compact", "FILE",
	 "Make a VHD's file shorter: give up blocks of zeros and close the holes between blocks"},
	{"merge", "CHILD",
	 "Write what a differencing VHD holds into its parent, then remove it. The chain reads the "
	 "same at any moment; if interrupted, start it again"},
	{}};

static const struct exit_code_row vhd_exit_codes[] = {
	{EXIT_OK, "Done; compare: the disks are equal."},
	{EXIT_FAILED, "It could not be done; one line on standard error says why."},
	{EXIT_USAGE, "The command line was wrong."},
	{EXIT_DIFFERENT, "compare: the disks differ; check: the image is damaged, or needs "
			 "--repair."},
	{EXIT_HOST_CANNOT, "This host cannot do it: too little memory, no permission."},
	{}};

const struct option_row vhd_options[] = {
	{.name = "size",
	 .argument = "SIZE",
	 .type = OPTION_SIZE,
	 .offset = VHD(bytes),
	 .min = 512,
	 .help = "create, resize: the disk's size; convert: that of a disk from standard input; "
		 "takes K, M, G or T"},
	{.name = "format",
	 .argument = "FORMAT",
	 .type = OPTION_CHOICE,
	 .offset = VHD(format),
	 .words = image_formats,
	 .help = "create, convert: the new image's format: raw, vhd-fixed, vhd-dynamic, vhdx-fixed, "
		 "vhdx-dynamic; create also vhd-differencing, vhdx-differencing; compare: that of "
		 "the second image"},
	{.name = "source-format",
	 .argument = "FORMAT",
	 .type = OPTION_CHOICE,
	 .offset = VHD(source_format),
	 .words = image_formats,
	 .help = "The format of the image that is there already; without it, as its contents say. "
		 "Besides the above vmdk and qcow2, read only"},
	{.name = "parent",
	 .argument = "FILE",
	 .type = OPTION_FILE,
	 .offset = VHD(parent),
	 .help = "create: the image that the new one holds the changes to"},
	{.name = "block-size",
	 .argument = "SIZE",
	 .type = OPTION_SIZE,
	 .offset = VHD(block_bytes),
	 .min = 4096,
	 .max = 256 * MIB,
	 .help = "create, convert: the size of an image's blocks, a power of two; without it 2M, "
		 "VHDX 32M"},
	{.name = "sector",
	 .argument = "BYTES",
	 .type = OPTION_NUMBER,
	 .offset = VHD(sector),
	 .min = 512,
	 .max = 4096,
	 .help = "create: the size of the guest's sectors, 512 (as without it) or, VHDX only, 4096"},
	{.name = "preallocate",
	 .type = OPTION_FLAG,
	 .offset = VHD(preallocate),
	 .help = "create, convert, formats raw and fixed: all of the disk gets its place on the "
		 "host now"},
	{.name = "azure",
	 .type = OPTION_FLAG,
	 .offset = VHD(azure),
	 .help = "convert: as Azure wants it: vhd-fixed, the size rounded up to whole MiB"},
	{.name = "repair",
	 .type = OPTION_FLAG,
	 .offset = VHD(repair),
	 .help = "check: write what was lost anew, as the next use would"},
	{.name = "force-shrink",
	 .type = OPTION_FLAG,
	 .offset = VHD(force_shrink),
	 .help = "resize: a smaller size cuts off data, too, and they are lost"},
	{.name = "keep",
	 .type = OPTION_FLAG,
	 .offset = VHD(keep),
	 .help = "merge: the child is not removed"},
	{.name = "chain",
	 .type = OPTION_FLAG,
	 .offset = VHD(chain),
	 .help = "info: also every image of the chain, and the parent's name as each has it"},
	{.name = "offset",
	 .argument = "SIZE",
	 .type = OPTION_SIZE,
	 .offset = VHD(offset),
	 .help = "read, write: where on the disk; without it at its start"},
	{.name = "bytes",
	 .argument = "SIZE",
	 .type = OPTION_SIZE,
	 .offset = VHD(count),
	 .min = 1,
	 .help = "read, write: how much; without it up to the disk's end, or that of standard "
		 "input"},
	{.name = "socket",
	 .argument = "PATH",
	 .type = OPTION_FILE,
	 .offset = VHD(socket),
	 .help = "mount: the Unix socket to make, for its owner only; its URI is "
		 "nbd+unix:///?socket=PATH"},
	{.name = "read-only",
	 .type = OPTION_FLAG,
	 .offset = VHD(read_only),
	 .help = "mount: clients cannot write"},
	{.name = "progress",
	 .argument = "HOW",
	 .type = OPTION_CHOICE,
	 .offset = VHD(progress),
	 .preset = "auto",
	 .words = progress_words,
	 .help = "What standard error shows of work that takes long: auto (a bar on a terminal), "
		 "json (a line at a time), or none"},
	{.name = "json",
	 .type = OPTION_FLAG,
	 .offset = VHD(json),
	 .help = "info, map, compare, check, compact: print JSON instead of text"},
	{}};

static const struct option_row no_options[] = {{}};

static int command_version(const void *options, const char *argument)
{
	printf("mullion " MULLION_VERSION "\n");
	return EXIT_OK;
}

const struct command command_table[] = {
	{.name = "run",
	 .summary = "Run a virtual machine from a kernel",
	 .description =
		 "Boots a kernel in a new virtual machine, whose first serial port is the "
		 "terminal. In the terminal, Ctrl-] q quits, Ctrl-] Ctrl-] sends one Ctrl-], "
		 "and Ctrl-] h shows this help. When standard input is not a terminal, the "
		 "guest reads it up to its end and runs on until it powers off.",
	 .options = run_options,
	 .exit_codes = run_exit_codes,
	 .run = command_run},
	{.name = "host",
	 .summary = "Show what this host can do",
	 .description = "Shows the processor, the memory, the engines found, why each is or is not "
			"usable, and which one a run would take.",
	 .options = host_options,
	 .run = command_host},
	{.name = "ctl",
	 .argument = "SOCKET",
	 .argument_required = true,
	 .more_arguments = "REQUEST [ARGUMENT]...",
	 .more_offset = CTL(words),
	 .words_title = "Requests",
	 .words = ctl_words,
	 .summary = "Control a running virtual machine",
	 .description =
		 "Sends one request to the control socket of a machine that was started with "
		 "mullion run --control SOCKET, waits for the answer, and shows it. "
		 "What a request asks of the guest needs the guest's drivers, and for "
		 "kvp-*, copy-file and freeze its daemons (Debian: hyperv-daemons).",
	 .options = ctl_options,
	 .run = command_ctl},
	{.name = "vhd",
	 .argument = "ACTION",
	 .argument_words = vhd_actions,
	 .argument_required = true,
	 .more_arguments = "FILE...",
	 .more_offset = VHD(files),
	 .words_title = "Actions",
	 .words = vhd_words,
	 .summary = "Create, convert, change and describe disk images",
	 .description = "Works on disk images: raw, VHD and VHDX (fixed, dynamic, or differencing, "
			"which hold the changes to a parent); VMDK and qcow2 are read. A file that "
			"exists is never overwritten; a new one appears complete or not at all. "
			"Sizes take K, M, G or T.",
	 .exit_codes = vhd_exit_codes,
	 .options = vhd_options,
	 .run = command_vhd},
	{.name = "help",
	 .argument = "COMMAND",
	 .summary = "Show help on a command",
	 .description = "Shows all commands, or the options of one.",
	 .options = help_options,
	 .run = command_help},
	{.name = "version",
	 .summary = "Show the version",
	 .description = "Shows the version.",
	 .options = no_options,
	 .run = command_version},
	{.name = "completion",
	 .argument = "SHELL",
	 .argument_words = shell_words,
	 .argument_required = true,
	 .summary = "Print a completion script for a shell",
	 .description = "Prints a script that completes commands, options and their values; for "
			"bash: source <(mullion completion bash)",
	 .options = no_options,
	 .run = command_completion},
	{}};

const struct command *command_find(const char *name)
{
	for (const struct command *command = command_table; command->name; command++) {
		if (!strcmp(command->name, name))
			return command;
	}
	return NULL;
}
