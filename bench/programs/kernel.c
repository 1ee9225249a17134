/*
 * kernel.c - work that is mostly the guest kernel's: traps, switches, page tables, files
 *
 * Checksums count what succeeded, so that a machine that fails fast is not taken for a fast one.
 */
#include <fcntl.h>
#include <sched.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

#include "benchmark.h"

static uint64_t kernel_syscall(void)
{
	uint64_t good = 0;
	pid_t self = getppid();

	for (int i = 0; i < 600000; i++)
		good += syscall(SYS_getppid) == self;
	return good;
}

/* Two processes on one processor hand a byte to and fro: two switches a round. */
static uint64_t kernel_switch(void)
{
	enum { ROUNDS = 15000 };
	int there[2], back[2], good = 0;
	cpu_set_t first;
	char byte = 1;

	CPU_ZERO(&first);
	CPU_SET(0, &first);
	sched_setaffinity(0, sizeof(first), &first);
	if (pipe(there) < 0 || pipe(back) < 0)
		return 0;
	if (fork() == 0) {
		close(there[1]);
		while (read(there[0], &byte, 1) == 1)
			if (write(back[1], &byte, 1) != 1)
				break;
		_exit(0);
	}
	for (int i = 0; i < ROUNDS; i++)
		good += write(there[1], &byte, 1) == 1 && read(back[0], &byte, 1) == 1;
	close(there[1]);
	wait(NULL);
	return good;
}

static uint64_t kernel_fork(void)
{
	int good = 0, status;

	for (int i = 0; i < 300; i++) {
		pid_t child = fork();

		if (child == 0)
			_exit(5);
		good += waitpid(child, &status, 0) == child && WEXITSTATUS(status) == 5;
	}
	return good;
}

static uint64_t kernel_exec(void)
{
	int good = 0, status;

	for (int i = 0; i < 120; i++) {
		pid_t child = fork();

		if (child == 0) {
			execl("/proc/self/exe", "benchmarks", "--exit", (char *)NULL);
			_exit(1);
		}
		good += waitpid(child, &status, 0) == child && status == 0;
	}
	return good;
}

static uint64_t kernel_faults(void)
{
	enum { BYTES = 4 << 20 };
	uint64_t good = 0;

	for (int round = 0; round < 25; round++) {
		uint8_t *memory = mmap(NULL, BYTES, PROT_READ | PROT_WRITE,
				       MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);

		if (memory == MAP_FAILED)
			return 0;
		madvise(memory, BYTES, MADV_NOHUGEPAGE);
		for (size_t at = 0; at < BYTES; at += 4096) {
			good += memory[at] == 0;
			memory[at] = 1;
		}
		munmap(memory, BYTES);
	}
	return good;
}

/* In a tmpfs: the host's /dev/shm, which the guest's devtmpfs is as well. */
static uint64_t kernel_files(void)
{
	uint64_t good = 0;
	struct stat status;
	char folder[] = "/dev/shm/bench-XXXXXX", path[64];

	mkdir("/dev/shm", 0777);
	if (!mkdtemp(folder))
		return 0;
	for (int i = 0; i < 5000; i++) {
		int file;

		snprintf(path, sizeof(path), "%s/%d", folder, i % 100);
		file = open(path, O_CREAT | O_WRONLY, 0600);
		good += write(file, path, 20) == 20;
		close(file);
		good += stat(path, &status) == 0 && status.st_size == 20;
		good += unlink(path) == 0;
	}
	rmdir(folder);
	return good;
}

static volatile sig_atomic_t taken;

static void take(int number)
{
	(void)number;
	taken = taken + 1;
}

static uint64_t kernel_signals(void)
{
	signal(SIGUSR1, take);
	for (int i = 0; i < 30000; i++)
		raise(SIGUSR1);
	return taken;
}

const struct benchmark kernel_benchmarks[] = {
	{"kernel_syscall", kernel_syscall}, {"kernel_switch", kernel_switch},
	{"kernel_fork", kernel_fork},	    {"kernel_exec", kernel_exec},
	{"kernel_faults", kernel_faults},   {"kernel_files", kernel_files},
	{"kernel_signals", kernel_signals}, {},
};
