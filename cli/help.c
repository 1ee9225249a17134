/*
 * help.c - help text, man page and bash completion, made from the command table
 */
#include <string.h>

#include "command.h"
#include "run_options.h"
#include "log.h"

#define HELP_COLUMN 24
#define HELP_WIDTH  96

/* --- help --- */

/* @text, wrapped at word ends, every line but the first indented by @column. */
static void write_wrapped(FILE *out, const char *text, size_t column, size_t at)
{
	while (*text) {
		size_t word = strcspn(text, " ");

		if (at + word > HELP_WIDTH && at > column) {
			fprintf(out, "\n%*s", (int)column, "");
			at = column;
		}
		at += fprintf(out, "%.*s", (int)word, text);
		text += word;
		if (*text == ' ') {
			text++;
			at += fprintf(out, " ");
		}
	}
	fprintf(out, "\n");
}

static size_t write_option_name(FILE *out, const struct option_row *row)
{
	return fprintf(out, "--%s%s%s", row->name, row->argument ? " " : "", row->argument ?: "");
}

static void write_row(FILE *out, size_t used, const char *text)
{
	if (used + 1 < HELP_COLUMN)
		fprintf(out, "%*s", (int)(HELP_COLUMN - used), "");
	else
		fprintf(out, "\n%*s", HELP_COLUMN, "");
	write_wrapped(out, text, HELP_COLUMN, HELP_COLUMN);
}

static void option_text(const struct option_row *row, char *text, size_t size)
{
	size_t used = snprintf(text, size, "%s", row->help);

	if (row->required)
		snprintf(text + used, size - used, " (required)");
	else if (row->preset && *row->preset)
		snprintf(text + used, size - used, " (default: %s)", row->preset);
}

static void write_synopsis(FILE *out, const struct command *command)
{
	fprintf(out, "mullion %s", command->name);
	if (command->options->name)
		fprintf(out, " [OPTION]...");
	if (command->argument)
		fprintf(out, command->argument_required ? " %s" : " [%s]", command->argument);
	if (command->more_arguments)
		fprintf(out, " %s", command->more_arguments);
}

static void write_word_rows(FILE *out, const struct command *command)
{
	if (!command->words)
		return;
	fprintf(out, "\n%s:\n", command->words_title);
	for (const struct word_row *row = command->words; row->name; row++) {
		size_t used = fprintf(out, "  %s%s%s", row->name, row->arguments ? " " : "",
				      row->arguments ?: "");

		write_row(out, used, row->help);
	}
}

static const struct exit_code_row *exit_codes_of(const struct command *command)
{
	return command->exit_codes ?: usual_exit_codes;
}

void help_write_command(FILE *out, const struct command *command)
{
	char text[512];

	fprintf(out, "Usage: ");
	write_synopsis(out, command);
	fprintf(out, "\n");
	write_wrapped(out, command->description, 0, 0);
	write_word_rows(out, command);
	if (command->options->name)
		fprintf(out, "\nOptions:\n");
	for (const struct option_row *row = command->options; row->name; row++) {
		size_t used = fprintf(out, "  ");

		used += write_option_name(out, row);
		option_text(row, text, sizeof(text));
		write_row(out, used, text);
	}
	fprintf(out, "\nExit status:\n");
	for (const struct exit_code_row *row = exit_codes_of(command); row->text; row++)
		write_row(out, fprintf(out, "  %d", row->code), row->text);
}

void help_write_overview(FILE *out)
{
	fprintf(out, "Usage: mullion COMMAND [OPTION]...\nRuns virtual machines.\n\nCommands:\n");
	for (const struct command *command = command_table; command->name; command++)
		write_row(out, fprintf(out, "  %s", command->name), command->summary);
	fprintf(out, "\n'mullion COMMAND --help' shows a command's options.\n");
}

/* --- man page --- */

/* Text for roff: a dash of an option and a backslash are written so that they stay themselves. */
static void write_roff(FILE *out, const char *text)
{
	if (*text == '.' || *text == '\'')
		fprintf(out, "\\&");
	for (; *text; text++) {
		if (*text == '-')
			fprintf(out, "\\-");
		else if (*text == '\\')
			fprintf(out, "\\e");
		else
			fputc(*text, out);
	}
}

static void write_man_option(FILE *out, const struct option_row *row)
{
	char text[512];

	fprintf(out, ".TP\n.B ");
	write_roff(out, "--");
	write_roff(out, row->name);
	if (row->argument)
		fprintf(out, " \\fI%s\\fR", row->argument);
	fprintf(out, "\n");
	option_text(row, text, sizeof(text));
	write_roff(out, text);
	fprintf(out, ".\n");
}

static void write_man_word(FILE *out, const struct word_row *row)
{
	fprintf(out, ".TP\n.B ");
	write_roff(out, row->name);
	if (row->arguments) {
		fprintf(out, " \\fI");
		write_roff(out, row->arguments);
		fprintf(out, "\\fR");
	}
	fprintf(out, "\n");
	write_roff(out, row->help);
	fprintf(out, ".\n");
}

static void write_man_command(FILE *out, const struct command *command)
{
	fprintf(out, ".SS ");
	write_synopsis(out, command);
	fprintf(out, "\n");
	write_roff(out, command->description);
	fprintf(out, "\n");
	for (const struct word_row *row = command->words; row && row->name; row++)
		write_man_word(out, row);
	for (const struct option_row *row = command->options; row->name; row++)
		write_man_option(out, row);
}

static void write_man_exit_codes(FILE *out, const struct exit_code_row *row)
{
	for (; row->text; row++) {
		fprintf(out, ".TP\n.B %d\n", row->code);
		write_roff(out, row->text);
		fprintf(out, "\n");
	}
}

void help_write_man(FILE *out)
{
	fprintf(out, ".TH MULLION 1 \"\" \"mullion " MULLION_VERSION "\" \"User Commands\"\n"
		     ".SH NAME\nmullion \\- run virtual machines\n"
		     ".SH SYNOPSIS\n.B mullion\n\\fICOMMAND\\fR [\\fIOPTION\\fR]...\n"
		     ".SH DESCRIPTION\nMullion runs virtual machines, through KVM where the host "
		     "has it, and in its own software CPU everywhere else.\n.SH COMMANDS\n");
	for (const struct command *command = command_table; command->name; command++)
		write_man_command(out, command);
	fprintf(out, ".SH EXIT STATUS\nOf \\fBmullion run\\fR:\n");
	write_man_exit_codes(out, run_exit_codes);
	fprintf(out, ".PP\nOf the other commands:\n");
	write_man_exit_codes(out, usual_exit_codes);
	fprintf(out,
		".PP\nWith \\fB\\-\\-debug\\-exit\\fR, a guest's write of V gives (V<<1)|1.\n");
}

/* --- bash completion --- */

static void write_words(FILE *out, const char *const *words)
{
	for (; *words; words++)
		fprintf(out, " %s", *words);
}

static void write_commands(FILE *out)
{
	for (const struct command *command = command_table; command->name; command++)
		fprintf(out, " %s", command->name);
}

static void write_value_completion(FILE *out, const struct command *command,
				   const struct option_row *row)
{
	fprintf(out, "\t%s:--%s) ", command->name, row->name);
	if (row->words) {
		fprintf(out, "COMPREPLY=($(compgen -W \"");
		write_words(out, row->words);
		fprintf(out, "\" -- \"$word\")); return ;;\n");
	} else if (row->type == OPTION_FILE || row->type == OPTION_FILES) {
		fprintf(out, "COMPREPLY=($(compgen -f -- \"$word\")); return ;;\n");
	} else {
		fprintf(out, "return ;;\n");
	}
}

static void complete_word_rows(FILE *out, const struct word_row *row)
{
	for (; row && row->name; row++)
		fprintf(out, " %s", row->name);
}

static void write_option_completion(FILE *out, const struct command *command)
{
	fprintf(out, "\t%s) words=\"--help", command->name);
	for (const struct option_row *row = command->options; row->name; row++)
		fprintf(out, " --%s", row->name);
	/* Where the first argument is one of some words, files follow it. */
	if (command->argument_words)
		write_words(out, command->argument_words);
	else
		complete_word_rows(out, command->words);
	if (!command->argument_words && command->argument && !command->more_arguments)
		write_commands(out);
	fprintf(out, "\"");
	if (command->more_arguments)
		fprintf(out, "; [ $COMP_CWORD -lt %u ] || COMPREPLY=($(compgen -f -- \"$word\"))",
			command->argument_words ? 3u : 2u);
	fprintf(out, " ;;\n");
}

void completion_write_bash(FILE *out)
{
	fprintf(out, "# bash completion for mullion\n_mullion() {\n"
		     "\tlocal word=\"${COMP_WORDS[COMP_CWORD]}\" words=\"\"\n\tCOMPREPLY=()\n"
		     "\tif [ \"$COMP_CWORD\" -eq 1 ]; then\n\t\tCOMPREPLY=($(compgen -W \"");
	write_commands(out);
	fprintf(out, "\" -- \"$word\"))\n\t\treturn\n\tfi\n"
		     "\tcase \"${COMP_WORDS[1]}:${COMP_WORDS[COMP_CWORD-1]}\" in\n");
	for (const struct command *command = command_table; command->name; command++) {
		for (const struct option_row *row = command->options; row->name; row++) {
			if (row->argument)
				write_value_completion(out, command, row);
		}
	}
	fprintf(out, "\tesac\n\tcase \"${COMP_WORDS[1]}\" in\n");
	for (const struct command *command = command_table; command->name; command++)
		write_option_completion(out, command);
	fprintf(out, "\tesac\n\tCOMPREPLY+=($(compgen -W \"$words\" -- \"$word\"))\n}\n"
		     "complete -o filenames -F _mullion mullion\n");
}

/* --- the commands --- */

int command_help(const void *options, const char *argument)
{
	const struct help_options *help = options;
	const struct command *command;

	if (help->man) {
		help_write_man(stdout);
		return EXIT_OK;
	}
	if (!argument) {
		help_write_overview(stdout);
		return EXIT_OK;
	}
	command = command_find(argument);
	if (!command) {
		log_error("%s: unknown command; 'mullion help' lists them", argument);
		return EXIT_USAGE;
	}
	help_write_command(stdout, command);
	return EXIT_OK;
}

int command_completion(const void *options, const char *argument)
{
	if (strcmp(argument, "bash")) {
		log_error("completion %s: there is none for this shell; bash is known", argument);
		return EXIT_USAGE;
	}
	completion_write_bash(stdout);
	return EXIT_OK;
}
