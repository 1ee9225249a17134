/*
 * options.c - turns words into values by the rows of the command table
 *
 * Both `--name value` and `--name=value` are taken. Every refusal is one line: the option, the
 * value as typed, the reason.
 */
#include <errno.h>
#include <inttypes.h>
#include <string.h>

#include "command.h"
#include "log.h"
#include "size.h"

#define MAX_OPTIONS 32

struct parse {
	const struct command *command;
	char *options;
	bool seen[MAX_OPTIONS];
};

static int refuse(const struct option_row *row, const char *value, const char *reason)
{
	log_error("--%s %s: %s", row->name, *value ? value : "''", reason);
	return -EINVAL;
}

static const char *list_words(const char *const *words, char *text, size_t size)
{
	size_t used = 0;

	*text = 0;
	for (; *words && used < size; words++)
		used += snprintf(text + used, size - used, "%s%s", used ? ", " : "", *words);
	return text;
}

/* --- one function per type; @value is checked and stored --- */

static int set_text(const struct option_row *row, const char *value, void *target)
{
	if (row->type != OPTION_TEXT && !*value)
		return refuse(row, value, "a file name is needed");
	*(const char **)target = value;
	return 0;
}

static int set_files(const struct option_row *row, const char *value, void *target)
{
	struct option_files *files = target;
	char reason[64];

	if (!*value)
		return refuse(row, value, "a file name is needed");
	if (files->count == OPTION_MAX_FILES) {
		snprintf(reason, sizeof(reason), "there can be at most %d", OPTION_MAX_FILES);
		return refuse(row, value, reason);
	}
	files->items[files->count++] = value;
	return 0;
}

static int out_of_range(const struct option_row *row, const char *value)
{
	char reason[96];

	if (row->max)
		snprintf(reason, sizeof(reason), "must be from %" PRIu64 " to %" PRIu64, row->min,
			 row->max);
	else
		snprintf(reason, sizeof(reason), "is too large");
	return refuse(row, value, reason);
}

static int set_size(const struct option_row *row, const char *value, void *target)
{
	char reason[64], least[SIZE_TEXT_BYTES];
	uint64_t bytes;
	int r = size_parse(value, &bytes);

	if (r == -EINVAL)
		return refuse(row, value,
			      "is not a size; give a number with K, M, G or T, like 512M");
	if (r < 0)
		return out_of_range(row, value);
	if (bytes < row->min) {
		snprintf(reason, sizeof(reason), "is too small; the least is %s",
			 size_format(row->min, least));
		return refuse(row, value, reason);
	}
	*(uint64_t *)target = bytes;
	return 0;
}

static int set_number(const struct option_row *row, const char *value, void *target)
{
	struct option_number *number = target;
	int r = number_parse(value, row->min, row->max ?: UINT64_MAX, &number->value);

	if (r == -EINVAL)
		return refuse(row, value, "is not a number");
	if (r < 0)
		return out_of_range(row, value);
	number->given = true;
	return 0;
}

static bool word_matches(const char *word, const char *value)
{
	size_t length = strlen(word);

	if (length && word[length - 1] == ':')
		return !strncmp(word, value, length) && value[length];
	return !strcmp(word, value);
}

static int not_a_word(const struct option_row *row, const char *value)
{
	char reason[160], words[128];

	snprintf(reason, sizeof(reason), "is none of %s",
		 list_words(row->words, words, sizeof(words)));
	return refuse(row, value, reason);
}

static int set_choice(const struct option_row *row, const char *value, void *target)
{
	for (const char *const *word = row->words; *word; word++) {
		if (word_matches(*word, value)) {
			*(const char **)target = value;
			return 0;
		}
	}
	return not_a_word(row, value);
}

/* The bit of the word that the first @length bytes of @value are; 0: none. */
static unsigned int word_bit(const char *const *words, const char *value, size_t length)
{
	for (unsigned int i = 0; words[i]; i++) {
		if (strlen(words[i]) == length && !strncmp(words[i], value, length))
			return 1u << i;
	}
	return 0;
}

static int set_set(const struct option_row *row, const char *value, void *target)
{
	unsigned int bits = 0;
	const char *at = value;

	for (;;) {
		size_t length = strcspn(at, ",");
		unsigned int bit = word_bit(row->words, at, length);

		if (!bit)
			return not_a_word(row, value);
		bits |= bit;
		if (!at[length])
			break;
		at += length + 1;
	}
	*(unsigned int *)target |= bits;
	return 0;
}

static int (*const setters[])(const struct option_row *row, const char *value, void *target) = {
	[OPTION_TEXT] = set_text, [OPTION_FILE] = set_text,	[OPTION_FILES] = set_files,
	[OPTION_SIZE] = set_size, [OPTION_NUMBER] = set_number, [OPTION_CHOICE] = set_choice,
	[OPTION_SET] = set_set,
};

/* --- words --- */

static const struct option_row *find_option(const struct command *command, const char *name,
					    size_t length)
{
	for (const struct option_row *row = command->options; row->name; row++) {
		if (strlen(row->name) == length && !strncmp(row->name, name, length))
			return row;
	}
	return NULL;
}

static int set_presets(struct parse *parse)
{
	for (const struct option_row *row = parse->command->options; row->name; row++) {
		int r = row->preset
				? setters[row->type](row, row->preset, parse->options + row->offset)
				: 0;

		if (r < 0)
			return r;
	}
	return 0;
}

static bool may_repeat(const struct option_row *row)
{
	return row->type == OPTION_FILES || row->type == OPTION_SET || row->type == OPTION_FLAG;
}

static int set_flag(const struct option_row *row, const char *value, bool *target)
{
	if (value)
		return refuse(row, value, "takes no value");
	*target = true;
	return 0;
}

/* @words: the option and what follows it; returns how many of them were used, or -EINVAL. */
static int parse_option(struct parse *parse, char **words, int count)
{
	const char *name = words[0] + 2, *value = NULL;
	size_t length = strcspn(name, "=");
	const struct option_row *row = find_option(parse->command, name, length);
	bool *seen;
	int used = 1, r;

	if (!row) {
		log_error("%s: unknown option of 'mullion %s'; 'mullion %s --help' lists them",
			  words[0], parse->command->name, parse->command->name);
		return -EINVAL;
	}
	if (name[length])
		value = name + length + 1;
	if (row->type == OPTION_FLAG) {
		r = set_flag(row, value, (bool *)(parse->options + row->offset));
		return r < 0 ? r : used;
	}
	if (!value && count < 2) {
		log_error("--%s: a value is missing (%s)", row->name, row->argument);
		return -EINVAL;
	}
	if (!value) {
		value = words[1];
		used = 2;
	}
	seen = &parse->seen[row - parse->command->options];
	if (*seen && !may_repeat(row))
		return refuse(row, value, "is given twice");
	*seen = true;
	r = setters[row->type](row, value, parse->options + row->offset);
	return r < 0 ? r : used;
}

static int check_required(const struct parse *parse, const char *argument)
{
	const struct command *command = parse->command;

	for (size_t i = 0; command->options[i].name; i++) {
		if (command->options[i].required && !parse->seen[i]) {
			log_error("--%s: is required; 'mullion %s --help' tells more",
				  command->options[i].name, command->name);
			return -EINVAL;
		}
	}
	if (command->argument_required && !argument) {
		log_error("%s: %s is missing; 'mullion %s --help' tells more", command->name,
			  command->argument, command->name);
		return -EINVAL;
	}
	return 0;
}

static int take_argument(struct parse *parse, const char *word, const char **argument)
{
	const struct command *command = parse->command;
	struct option_files *more = (struct option_files *)(parse->options + command->more_offset);

	if (command->argument && !*argument) {
		*argument = word;
		return 0;
	}
	if (command->more_arguments && more->count < OPTION_MAX_FILES) {
		more->items[more->count++] = word;
		return 0;
	}
	log_error("%s: unexpected argument of 'mullion %s'", word, command->name);
	return -EINVAL;
}

static bool asks_for_help(int argc, char **argv)
{
	for (int i = 0; i < argc && strcmp(argv[i], "--"); i++) {
		if (!strcmp(argv[i], "--help"))
			return true;
	}
	return false;
}

int options_parse(const struct command *command, int argc, char **argv, void *options,
		  const char **ret_argument, bool *ret_help)
{
	struct parse parse = {.command = command, .options = options};
	bool only_arguments = false;
	int r, i = 0;

	*ret_argument = NULL;
	*ret_help = asks_for_help(argc, argv);
	if (*ret_help)
		return 0;
	r = set_presets(&parse);
	while (r >= 0 && i < argc) {
		if (!only_arguments && !strcmp(argv[i], "--")) {
			only_arguments = true;
			i++;
		} else if (!only_arguments && !strncmp(argv[i], "--", 2)) {
			r = parse_option(&parse, argv + i, argc - i);
			i += MAX(r, 0);
		} else {
			r = take_argument(&parse, argv[i++], ret_argument);
		}
	}
	return r < 0 ? r : check_required(&parse, *ret_argument);
}
