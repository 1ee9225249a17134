/*
 * options_test.c - parsing by the command table, and the texts made from it
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include <cmocka.h>

#include "log.h"
#include "run_options.h"
#include "terminal.h"

#define MAX_WORDS 12

/* The table names them; nothing here runs them. */
int command_ctl(const void *options, const char *argument)
{
	return EXIT_OK;
}

/* Parses the blank-separated words of @line as options of `run`. */
static int parse(const char *line, struct run_options *options, bool *help)
{
	static char text[256];
	char *words[MAX_WORDS];
	uint64_t room[COMMAND_OPTIONS_BYTES / 8] = {};
	const char *argument;
	int count = 0, r;

	snprintf(text, sizeof(text), "%s", line);
	for (char *word = strtok(text, " "); word && count < MAX_WORDS; word = strtok(NULL, " "))
		words[count++] = word;
	r = options_parse(command_find("run"), count, words, room, &argument, help);
	memcpy(options, room, sizeof(*options));
	return r;
}

/* The same with standard error captured in @said. */
static int parse_quietly(const char *line, char *said, size_t size)
{
	struct run_options options;
	int saved = dup(STDERR_FILENO), ends[2], r;
	ssize_t got;
	bool help;

	assert_int_equal(pipe(ends), 0);
	dup2(ends[1], STDERR_FILENO);
	r = parse(line, &options, &help);
	dup2(saved, STDERR_FILENO);
	close(saved);
	close(ends[1]);
	got = read(ends[0], said, size - 1);
	said[MAX(got, 0)] = 0;
	close(ends[0]);
	return r;
}

static void options_fill_their_members_and_have_defaults(void **state)
{
	struct run_options o;
	bool help;

	assert_int_equal(parse("--kernel k", &o, &help), 0);
	assert_string_equal(o.kernel, "k");
	assert_int_equal(o.memory_bytes, 512 * MIB);
	assert_int_equal(o.cpus.value, 1);
	assert_string_equal(o.accel, "auto");
	assert_string_equal(o.serial, "stdio");
	assert_string_equal(o.append, "");
	assert_false(o.debug_exit.given || o.stats || o.no_reboot || o.trace || o.initrds.count);
	assert_int_equal(parse("--kernel=k --memory=1G --cpus 64 --initrd a --initrd=b --no-reboot "
			       "--debug-exit 0xf4 --serial file:x",
			       &o, &help),
			 0);
	assert_int_equal(o.memory_bytes, GIB);
	assert_int_equal(o.cpus.value, 64);
	assert_int_equal(o.initrds.count, 2);
	assert_string_equal(o.initrds.items[1], "b");
	assert_true(o.no_reboot && o.debug_exit.given);
	assert_int_equal(o.debug_exit.value, 0xf4);
	assert_int_equal(parse("--kernel k --trace exits,mmu --stats", &o, &help), 0);
	assert_int_equal(o.trace, 1 | 16);
}

static void a_mistake_is_one_line_with_option_value_and_reason(void **state)
{
	static const struct {
		const char *line, *said;
	} cases[] = {
		{"", "--kernel: is required"},
		{"--kernel", "--kernel: a value is missing"},
		{"--kernel=", "--kernel '': a file name is needed"},
		{"--kernel k --kernel j", "--kernel j: is given twice"},
		{"--kernel k --memory 0", "--memory 0: is too small; the least is 1M"},
		{"--kernel k --memory lots", "--memory lots: is not a size"},
		{"--kernel k --memory 99999999999999999999G", "is too large"},
		{"--kernel k --cpus 0", "--cpus 0: must be from 1 to 64"},
		{"--kernel k --cpus 1000", "--cpus 1000: must be from 1 to 64"},
		{"--kernel k --cpus two", "--cpus two: is not a number"},
		{"--kernel k --accel warp", "--accel warp: is none of auto, dbt, kvm"},
		{"--kernel k --serial file:", "--serial file:: is none of"},
		{"--kernel k --serial ptyx", "--serial ptyx: is none of"},
		{"--kernel k --trace exits,", "--trace exits,: is none of"},
		{"--kernel k --trace exitsx", "--trace exitsx: is none of"},
		{"--kernel k --debug-exit 0x10000",
		 "--debug-exit 0x10000: must be from 0 to 65535"},
		{"--kernel k --stats=1", "--stats 1: takes no value"},
		{"--kernel k --stat", "--stat: unknown option"},
		{"--kernel k surplus", "surplus: unexpected argument"},
		{"--kernel k -- --stats", "--stats: unexpected argument"},
	};
	char said[512];

	for (size_t i = 0; i < ARRAY_SIZE(cases); i++) {
		int r = parse_quietly(cases[i].line, said, sizeof(said));

		if (r >= 0 || strncmp(said, "mullion: ", 9) || !strstr(said, cases[i].said) ||
		    strchr(said, '\n') != said + strlen(said) - 1)
			fail_msg("\"%s\": %d, \"%s\"", cases[i].line, r, said);
	}
}

static void words_after_the_argument_are_kept_in_order(void **state)
{
	char *words[] = {"socket", "--json", "kvp-set", "key", "--", "--value"};
	uint64_t room[COMMAND_OPTIONS_BYTES / 8] = {};
	const struct ctl_options *ctl = (const struct ctl_options *)room;
	const char *argument;
	bool help;

	assert_int_equal(options_parse(command_find("ctl"), ARRAY_SIZE(words), words, room,
				       &argument, &help),
			 0);
	assert_string_equal(argument, "socket");
	assert_true(ctl->json);
	assert_int_equal(ctl->words.count, 3);
	assert_string_equal(ctl->words.items[0], "kvp-set");
	assert_string_equal(ctl->words.items[2], "--value");
}

static void help_wins_over_everything_else(void **state)
{
	struct run_options o;
	bool help = false;

	assert_int_equal(parse("--cpus 0 --help", &o, &help), 0);
	assert_true(help);
}

/* --- texts --- */

static void write_man(FILE *out, const struct command *command)
{
	help_write_man(out);
}

static void write_completion(FILE *out, const struct command *command)
{
	completion_write_bash(out);
}

static void every_option_is_in_help_man_page_and_completion(void **state)
{
	static void (*const writers[])(FILE * out, const struct command *command) = {
		help_write_command, write_man, write_completion};

	for (const struct command *command = command_table; command->name; command++) {
		for (size_t i = 0; i < ARRAY_SIZE(writers); i++) {
			char *text = NULL;
			size_t size;
			FILE *out = open_memstream(&text, &size);

			writers[i](out, command);
			fclose(out);
			for (const struct word_row *row = command->words; row && row->name; row++) {
				/* The man page writes a dash as \\-. */
				if (i != 1 && !strstr(text, row->name))
					fail_msg("%s is missing in text %zu", row->name, i);
			}
			for (size_t j = 0; command->options[j].name; j++) {
				if (!strstr(text, command->options[j].name) && i != 1)
					fail_msg("%s is missing in text %zu",
						 command->options[j].name, i);
			}
			assert_non_null(strstr(text, command->name));
			free(text);
		}
	}
}

/* --- the escape key --- */

static void the_escape_key_is_taken_out_of_what_is_typed(void **state)
{
	static const struct {
		const char *typed, *sent;
		enum escape_action action;
	} cases[] = {
		{"abc", "abc", ESCAPE_NONE},
		{"a\x1d\x1d"
		 "b",
		 "a\x1d"
		 "b",
		 ESCAPE_NONE},
		{"a\x1dqb", "a", ESCAPE_QUIT},
		{"a\x1dhb", "ab", ESCAPE_HELP},
		{"\x1d?", "", ESCAPE_HELP},
		{"a\x1dzb", "ab", ESCAPE_NONE},
		{"\x1d\x1dq", "\x1dq", ESCAPE_NONE},
		{"\x03\x1a", "\x03\x1a", ESCAPE_NONE},
	};

	for (size_t i = 0; i < ARRAY_SIZE(cases); i++) {
		struct escape escape = {};
		enum escape_action action;
		uint8_t bytes[16] = {};
		size_t n = strlen(cases[i].typed);

		memcpy(bytes, cases[i].typed, n);
		n = escape_filter(&escape, bytes, n, &action);
		assert_int_equal(n, strlen(cases[i].sent));
		assert_memory_equal(bytes, cases[i].sent, n);
		assert_int_equal(action, cases[i].action);
	}
}

static void the_escape_key_works_across_reads(void **state)
{
	struct escape escape = {};
	enum escape_action action;
	uint8_t first[] = {'a', ESCAPE_KEY}, second[] = {'q'};

	assert_int_equal(escape_filter(&escape, first, 2, &action), 1);
	assert_int_equal(action, ESCAPE_NONE);
	assert_int_equal(escape_filter(&escape, second, 1, &action), 0);
	assert_int_equal(action, ESCAPE_QUIT);
}

int main(void)
{
	static const struct CMUnitTest tests[] = {
		cmocka_unit_test(options_fill_their_members_and_have_defaults),
		cmocka_unit_test(a_mistake_is_one_line_with_option_value_and_reason),
		cmocka_unit_test(words_after_the_argument_are_kept_in_order),
		cmocka_unit_test(help_wins_over_everything_else),
		cmocka_unit_test(every_option_is_in_help_man_page_and_completion),
		cmocka_unit_test(the_escape_key_is_taken_out_of_what_is_typed),
		cmocka_unit_test(the_escape_key_works_across_reads),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
