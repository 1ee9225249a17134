/*
 * machine.c - the machine as a table of parts, built from the top row down, freed from the
 * bottom up
 *
 * A part may use what the rows above it made. Each says in *error whose fault a failure is.
 */
#include "machine.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "cpuid_policy.h"
#include "hv_tlfs.h"
#include "hyperv.h"
#include "smbios_tables.h"
#include "size.h"

struct build {
	const struct vm_config *config;
	const struct chipset_events *events;
	const struct hyperv_events *hyperv_events;
	struct machine *machine;
	struct vm_error *error;
};

/* --- memory --- */

static int make_memory(struct build *build)
{
	uint64_t bytes = build->config->memory_bytes;
	char text[SIZE_TEXT_BYTES];
	int r = guest_memory_new(bytes, &build->machine->memory);

	if (r < 0)
		return vm_fail(build->error, r, BLAME_MEMORY, "the host cannot provide %s: %s",
			       size_format(bytes, text), strerror(-r));
	build->machine->layout = layout_of(bytes);
	return 0;
}

static void free_memory(struct machine *machine)
{
	if (machine->memory.base)
		guest_memory_free(&machine->memory);
}

/* --- partition --- */

static int acknowledge_extint(void *ctx)
{
	struct machine *machine = ctx;

	return chipset_acknowledge_extint(machine->chipset);
}

/* After the processor's own leaves, as many as there is room for. */
static size_t add_hypervisor_leaves(const struct engine *engine,
				    struct cpuid_leaf leaves[PARTITION_MAX_CPUID],
				    const struct partition_config *config)
{
	struct cpuid_leaf hypervisor[HV_CPUID_LEAVES];
	size_t count = hyperv_cpuid(engine, config->vp_count, hypervisor);

	count = MIN(count, PARTITION_MAX_CPUID - config->cpuid_count);
	memcpy(leaves + config->cpuid_count, hypervisor, count * sizeof(*leaves));
	return config->cpuid_count + count;
}

static int make_partition(struct build *build)
{
	static const struct msr_range all[] = {{HV_MSR_FIRST, HV_MSR_LAST}};
	static const struct msr_range all_but_apic[] = {{HV_MSR_FIRST, HV_MSR_EOI - 1},
							{HV_MSR_VP_ASSIST_PAGE + 1, HV_MSR_LAST}};
	const struct engine *engine = build->config->engine;
	bool engine_has_apic = hyperv_apic_msrs_are_engines(engine);
	struct cpuid_leaf leaves[PARTITION_MAX_CPUID];
	struct partition_config config = {
		.vp_count = build->config->vp_count,
		.cpuid = leaves,
		.exit_msrs = engine_has_apic ? all_but_apic : all,
		.exit_msr_count = engine_has_apic ? ARRAY_SIZE(all_but_apic) : ARRAY_SIZE(all),
		.hypercall_port = build->config->hyper_v ? HYPERV_HYPERCALL_PORT : 0,
		.signal_port = build->config->hyper_v ? HYPERV_SIGNAL_PORT : 0,
		.acknowledge_extint = acknowledge_extint,
		.ctx = build->machine,
	};
	int r;

	memset(leaves, 0, sizeof(leaves));
	config.cpuid_count =
		cpuid_policy_apply(leaves, engine->supported_cpuid(leaves), config.vp_count);
	if (build->config->hyper_v)
		config.cpuid_count = add_hypervisor_leaves(engine, leaves, &config);
	r = partition_new(engine, &config, &build->machine->part);
	if (r < 0)
		return vm_fail(build->error, r, BLAME_ENGINE, "cannot make a virtual machine: %s",
			       strerror(-r));
	partition_set_trace(build->machine->part, build->config->trace);
	return 0;
}

static void free_partition(struct machine *machine)
{
	if (machine->part)
		partition_free(machine->part);
}

static int map_memory(struct build *build)
{
	struct machine *machine = build->machine;
	const struct layout *layout = &machine->layout;
	unsigned int access = MAP_GPA_READ | MAP_GPA_WRITE | MAP_GPA_EXECUTE;
	int r;

	partition_set_memory(machine->part, &machine->memory);
	r = partition_map_gpa(machine->part, 0, layout->low_bytes, machine->memory.base, access);
	if (!r && layout->high_bytes)
		r = partition_map_gpa(machine->part, PC_HOLE_END, layout->high_bytes,
				      machine->memory.base + layout->low_bytes, access);
	if (r < 0)
		return vm_fail(build->error, r, BLAME_ENGINE, "cannot map the guest's memory: %s",
			       strerror(-r));
	return 0;
}

static int make_vp(struct build *build, unsigned int index)
{
	int r = partition_create_vp(build->machine->part, index, &build->machine->vps[index]);

	return r < 0 ? vm_fail(build->error, r, BLAME_ENGINE,
			       "cannot make virtual processor %u: %s", index, strerror(-r))
		     : 0;
}

static int make_boot_vp(struct build *build)
{
	return make_vp(build, 0);
}

/* After VP 0 has its initial state: setting a state moves a VP's TSC, and a new VP takes VP 0's. */
static int make_other_vps(struct build *build)
{
	for (unsigned int i = 1; i < build->config->vp_count; i++) {
		int r = make_vp(build, i);

		if (r < 0)
			return r;
	}
	return 0;
}

/* --- chipset and devices --- */

static int make_chipset(struct build *build)
{
	int r = chipset_new(build->machine->part, build->config->loop, build->events,
			    &build->machine->chipset);

	return r < 0 ? vm_fail(build->error, r, BLAME_HOST, "cannot make the chipset: %s",
			       strerror(-r))
		     : 0;
}

static void free_chipset(struct machine *machine)
{
	if (machine->chipset)
		chipset_free(machine->chipset);
}

static int make_devices(struct build *build)
{
	const struct pc_config config = {
		.memory_bytes = build->config->memory_bytes,
		.com1 = build->config->serial,
		.has_debug_exit = build->config->has_debug_exit,
		.debug_exit_port = build->config->debug_exit_port,
	};
	int r = pc_new(build->machine->chipset, &config, &build->machine->pc);

	if (r == -EEXIST && config.has_debug_exit)
		return vm_fail(
			build->error, r, BLAME_DEBUG_EXIT,
			"the port belongs to a device of the machine; choose another, e.g. 0xf4");
	return r < 0 ? vm_fail(build->error, r, BLAME_HOST, "cannot make the devices: %s",
			       strerror(-r))
		     : 0;
}

static int write_tables(struct build *build)
{
	struct machine *machine = build->machine;
	const struct acpi_tables_config config = {.vp_count = build->config->vp_count,
						  .vmbus = build->config->hyper_v};
	uint8_t *area = layout_hva(&machine->layout, &machine->memory, PC_ACPI_GPA, PC_ACPI_BYTES);
	int r = area ? acpi_tables_write(&config, area, PC_ACPI_BYTES, PC_ACPI_GPA) : -ENOSPC;

	return r < 0 ? vm_fail(build->error, r, BLAME_MEMORY,
			       "the ACPI tables do not fit; give the guest more memory")
		     : 0;
}

/* Without Hyper-V's interface the maker's name would mislead a guest. */
static int write_smbios(struct build *build)
{
	const struct smbios_tables_config config = {.serial = ""};
	struct machine *machine = build->machine;
	uint8_t *area = layout_hva(&machine->layout, &machine->memory, PC_SMBIOS_GPA,
				   PC_SMBIOS_BYTES);
	int r;

	if (!build->config->hyper_v)
		return 0;
	r = area ? smbios_tables_write(&config, area, PC_SMBIOS_BYTES, PC_SMBIOS_GPA) : -ENOSPC;
	return r < 0 ? vm_fail(build->error, r, BLAME_MEMORY,
			       "the SMBIOS structures do not fit; give the guest more memory")
		     : 0;
}

/* --- the kernel --- */

static int load_kernel(struct build *build)
{
	struct machine *machine = build->machine;
	const struct boot_request request = {
		.memory = &machine->memory,
		.layout = machine->layout,
		.kernel = build->config->kernel,
		.initrds = build->config->initrds,
		.initrd_count = build->config->initrd_count,
		.command_line = build->config->command_line,
		.rsdp = PC_ACPI_GPA,
	};
	struct vp_state state;
	int r;

	r = vp_get_state(machine->vps[0], &state);
	if (r < 0)
		return vm_fail(build->error, r, BLAME_ENGINE,
			       "cannot read the processor's state: %s", strerror(-r));
	r = boot_load(&request, &state, build->error);
	if (r < 0)
		return r;
	r = vp_set_state(machine->vps[0], &state);
	return r < 0 ? vm_fail(build->error, r, BLAME_ENGINE,
			       "the engine refuses the kernel's initial state: %s", strerror(-r))
		     : 0;
}

/* --- Hyper-V --- */

static int make_hyperv(struct build *build)
{
	struct machine *machine = build->machine;
	int r = build->config->hyper_v
			? hyperv_new(machine->part, build->config->loop, build->hyperv_events,
				     &machine->hyperv)
			: 0;

	return r < 0 ? vm_fail(build->error, r, BLAME_HOST,
			       "cannot make the Hyper-V interface: %s", strerror(-r))
		     : 0;
}

static void free_hyperv(struct machine *machine)
{
	hyperv_free(machine->hyperv);
}

/* --- the table --- */

static const struct machine_part {
	int (*make)(struct build *build);
	void (*free)(struct machine *machine);
} parts[] = {
	{make_memory, free_memory}, {make_partition, free_partition},
	{map_memory, NULL},	    {make_chipset, free_chipset},
	{make_boot_vp, NULL},	    {make_devices, NULL},
	{write_tables, NULL},	    {write_smbios, NULL},
	{load_kernel, NULL},	    {make_other_vps, NULL},
	{make_hyperv, free_hyperv},
};

void machine_free(struct machine *machine)
{
	if (!machine)
		return;
	for (size_t i = ARRAY_SIZE(parts); i-- > 0;) {
		if (parts[i].free)
			parts[i].free(machine);
	}
	free(machine);
}

int machine_new(const struct vm_config *config, const struct chipset_events *events,
		const struct hyperv_events *hyperv_events, struct machine **ret_machine,
		struct vm_error *ret_error)
{
	struct machine *machine = calloc(1, sizeof(*machine));
	struct build build = {config, events, hyperv_events, machine, ret_error};

	if (!machine)
		return vm_fail(ret_error, -ENOMEM, BLAME_HOST, "out of memory");
	for (size_t i = 0; i < ARRAY_SIZE(parts); i++) {
		int r = parts[i].make(&build);

		if (r < 0) {
			machine_free(machine);
			return r;
		}
	}
	*ret_machine = machine;
	return 0;
}
