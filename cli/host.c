/*
 * host.c - `mullion host`: the processor, the engines, and what a run would take
 */
#include "host.h"

#include <inttypes.h>
#include <jansson.h>
#include <stdio.h>

#include "command.h"
#include "engines.h"
#include "run_options.h"

static const struct engine_probe *probe_engine(const struct engine *engine,
					       struct engine_probe *probe)
{
	*probe = (struct engine_probe){};
	engine->probe(probe);
	return probe;
}

static void print_text(const struct host_info *info, const struct engine_choice *choice)
{
	struct engine_probe probe;

	printf("processor: %s (%s), %u online\nfeatures: ", info->model, info->vendor,
	       info->cpu_count);
	for (size_t i = 0; i < info->feature_count; i++)
		printf(" %s", info->features[i]);
	printf("\nmemory:    %" PRIu64 " MiB\n", (uint64_t)(info->memory_bytes / MIB));
	for (const struct engine *const *engine = engine_table; *engine; engine++) {
		probe_engine(*engine, &probe);
		printf("engine %s: %s (%s): %s\n", (*engine)->name,
		       probe.usable ? "usable" : "not usable", probe.code, probe.why);
	}
	if (choice->engine)
		printf("chosen:    %s, because %s\n", choice->engine->name, choice->why);
	else
		printf("chosen:    none: %s\n", choice->why);
}

static json_t *processor_json(const struct host_info *info)
{
	json_t *features = json_array();

	for (size_t i = 0; i < info->feature_count; i++)
		json_array_append_new(features, json_string(info->features[i]));
	return json_pack("{s:s, s:s, s:i, s:o}", "vendor", info->vendor, "model", info->model,
			 "online", (int)info->cpu_count, "features", features);
}

static json_t *engines_json(void)
{
	json_t *engines = json_array();
	struct engine_probe probe;

	for (const struct engine *const *engine = engine_table; *engine; engine++) {
		probe_engine(*engine, &probe);
		json_array_append_new(
			engines, json_pack("{s:s, s:s, s:b, s:s, s:s}", "name", (*engine)->name,
					   "description", (*engine)->description, "usable",
					   probe.usable, "code", probe.code, "why", probe.why));
	}
	return engines;
}

static int print_json(const struct host_info *info, const struct engine_choice *choice)
{
	json_t *root = json_pack("{s:o, s:I, s:o, s:s?, s:s}", "processor", processor_json(info),
				 "memory_bytes", (json_int_t)info->memory_bytes, "engines",
				 engines_json(), "chosen",
				 choice->engine ? choice->engine->name : NULL, "why", choice->why);
	int r = root ? json_dumpf(root, stdout, JSON_INDENT(2)) : -1;

	printf("\n");
	json_decref(root);
	return r < 0 ? EXIT_FAILED : EXIT_OK;
}

int command_host(const void *options, const char *argument)
{
	const struct host_options *host = options;
	struct engine_choice choice;
	struct host_info info;

	host_describe(&info);
	engine_choose(engine_table, ENGINE_AUTO, &choice);
	if (host->json)
		return print_json(&info, &choice);
	print_text(&info, &choice);
	return EXIT_OK;
}
