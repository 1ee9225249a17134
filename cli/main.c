/*
 * main.c - finds the command in the table, parses its options, runs it
 */
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "command.h"
#include "log.h"

static int run_command(const struct command *command, int argc, char **argv)
{
	uint64_t options[COMMAND_OPTIONS_BYTES / sizeof(uint64_t)] = {};
	const char *argument;
	bool help;

	if (options_parse(command, argc, argv, options, &argument, &help) < 0)
		return EXIT_USAGE;
	if (!help)
		return command->run(options, argument);
	help_write_command(stdout, command);
	return EXIT_OK;
}

/* Output that did not arrive (a full disk) must not look like success. */
static int flush_output(int status)
{
	if (fflush(stdout) && status == EXIT_OK) {
		log_error("cannot write to standard output");
		return EXIT_FAILED;
	}
	return status;
}

/*
 * A standard descriptor that came closed would become the next file opened, and get what is meant
 * for the terminal. Input then reads as ended; output fails, as it should.
 */
static void hold_standard_descriptors(void)
{
	int fd;

	do
		fd = open("/dev/null", O_RDONLY);
	while (fd >= 0 && fd <= STDERR_FILENO);
	if (fd >= 0)
		close(fd);
}

int main(int argc, char **argv)
{
	const struct command *command;
	const char *name = argc > 1 ? argv[1] : NULL;

	hold_standard_descriptors();
	if (!name) {
		help_write_overview(stderr);
		return EXIT_USAGE;
	}
	if (!strcmp(name, "--help") || !strcmp(name, "--version"))
		name += 2;
	command = command_find(name);
	if (!command) {
		log_error("%s: unknown command; 'mullion help' lists them", name);
		return EXIT_USAGE;
	}
	return flush_output(run_command(command, argc - 2, argv + 2));
}
