/*
 * command.h - the command table: everything the command line knows about commands and options
 *
 * Parsing, usage errors, `--help`, shell completion and the man page are all made from these
 * rows; an option is added by adding a row.
 */
#ifndef CLI_COMMAND_H
#define CLI_COMMAND_H

#include <stdio.h>

#include "base.h"

enum exit_code {
	EXIT_OK = 0,
	EXIT_FAILED = 1,
	EXIT_USAGE = 2,
	EXIT_DIFFERENT = 3, /* vhd compare: they differ; vhd check: there is damage */
	EXIT_HOST_CANNOT = 8,
	EXIT_GUEST_CRASHED = 9
};

/* Rows for help and the man page; ends with text == NULL. */
struct exit_code_row {
	enum exit_code code;
	const char *text;
};
extern const struct exit_code_row run_exit_codes[], usual_exit_codes[];

enum option_type {
	OPTION_FLAG,   /* bool */
	OPTION_TEXT,   /* const char * */
	OPTION_FILE,   /* const char *; completed as a file name */
	OPTION_FILES,  /* struct option_files; may be repeated */
	OPTION_SIZE,   /* uint64_t; K, M, G, T */
	OPTION_NUMBER, /* struct option_number */
	OPTION_CHOICE, /* const char *, one of ->words; a word ending in ':' takes the rest */
	OPTION_SET     /* unsigned int: a bit for each of ->words, separated by commas */
};

#define OPTION_MAX_FILES 64
struct option_files {
	const char *items[OPTION_MAX_FILES];
	size_t count;
};
struct option_number {
	bool given;
	uint64_t value;
};

struct option_row {
	const char *name;     /* without the dashes */
	const char *argument; /* as help shows it; NULL for a flag */
	enum option_type type;
	size_t offset; /* of the value in the command's options */
	const char *help;
	const char *preset; /* the default as a user would type it; NULL: none */
	bool required;
	uint64_t min, max;	  /* of numbers and sizes; max 0: no limit */
	const char *const *words; /* ends with NULL */
};

/* What a command does further words for, in help and completion: "kvp-get", "KEY", a sentence. */
struct word_row {
	const char *name;
	const char *arguments; /* as help shows them; NULL: none */
	const char *help;
};

#define COMMAND_OPTIONS_BYTES 4096
struct command {
	const char *name;
	const char *argument; /* the positional argument as help shows it; NULL: there is none */
	const char *const
		*argument_words; /* for completion and checking; NULL: the commands' names */
	bool argument_required;
	/* The optional words after the argument, as help shows them; NULL: there are none. */
	const char *more_arguments;
	size_t more_offset; /* of a struct option_files in the command's options: the words */
	const char *words_title;
	const struct word_row *words; /* ends with name == NULL; NULL: none */
	const char *summary; /* one line */
	const char *description;
	const struct option_row *options;		       /* ends with name == NULL */
	const struct exit_code_row *exit_codes;		       /* NULL: usual_exit_codes */
	int (*run)(const void *options, const char *argument); /* returns the exit status */
};

/* Ends with name == NULL. */
extern const struct command command_table[];
const struct command *command_find(const char *name);

extern const struct option_row run_options[], host_options[], help_options[], ctl_options[],
	vhd_options[];
int command_run(const void *options, const char *argument);
int command_host(const void *options, const char *argument);
int command_ctl(const void *options, const char *argument);
int command_vhd(const void *options, const char *argument);
int command_help(const void *options, const char *argument);
int command_completion(const void *options, const char *argument);

/*
 * options_parse() - fill @options (COMMAND_OPTIONS_BYTES, zeroed) from the words after the
 * command's name
 * @ret_help: --help was among them; nothing else matters then
 * Returns: 0; -EINVAL after one line on standard error that names option, value and reason.
 */
int options_parse(const struct command *command, int argc, char **argv, void *options,
		  const char **ret_argument, bool *ret_help);

/* help.c: text from the table. */
void help_write_overview(FILE *out);
void help_write_command(FILE *out, const struct command *command);
void help_write_man(FILE *out);
void completion_write_bash(FILE *out);

#endif
