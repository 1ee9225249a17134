/*
 * test_stubs.c - commands that the table names and no test runs
 */
#include "command.h"

int command_run(const void *options, const char *argument)
{
	return EXIT_OK;
}

int command_host(const void *options, const char *argument)
{
	return EXIT_OK;
}

int command_vhd(const void *options, const char *argument)
{
	return EXIT_OK;
}
