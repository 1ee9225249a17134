/*
 * partition.c - the partition interface's common half: checks, bookkeeping, trace, call through
 *
 * Every function of partition.h that an engine implements is wrapped here once, so that an engine
 * may rely on its arguments and a caller's mistake is an -EINVAL instead of an engine's surprise.
 * Two things are done here for all engines:
 *   1. vps[] lists the VPs by index; an engine's destroy() frees those that exist;
 *   2. a guest's byte written to hypercall_port becomes VP_EXIT_HYPERCALL. Engines know nothing
 *      of it: to them it is a port write that needs no answer.
 */
#include <errno.h>
#include <string.h>

#include "partition_internal.h"

#define GPA_LIMIT   BIT(52) /* the architecture's largest physical address, plus one */
#define MAP_GPA_ALL (MAP_GPA_READ | MAP_GPA_WRITE | MAP_GPA_EXECUTE | MAP_GPA_DIRTY)

static bool msr_ranges_valid(const struct partition_config *config)
{
	if (config->exit_msr_count > PARTITION_MAX_MSR_RANGES ||
	    (config->exit_msr_count && !config->exit_msrs))
		return false;
	for (size_t i = 0; i < config->exit_msr_count; i++)
		if (config->exit_msrs[i].first > config->exit_msrs[i].last)
			return false;
	return true;
}

static bool config_valid(const struct partition_config *config)
{
	return config->vp_count >= 1 && config->vp_count <= PARTITION_MAX_VPS &&
	       config->cpuid_count <= PARTITION_MAX_CPUID &&
	       (!config->cpuid_count || config->cpuid) && config->hypercall_port <= 0xff &&
	       msr_ranges_valid(config);
}

int partition_new(const struct engine *engine, const struct partition_config *config,
		  struct partition **ret_part)
{
	struct partition *part;
	int r;

	if (!engine || !config || !ret_part || !config_valid(config))
		return -EINVAL;
	r = engine->ops->create(config, &part);
	if (r < 0)
		return r;
	part->engine = engine;
	part->ops = engine->ops;
	part->vp_count = config->vp_count;
	part->hypercall_port = config->hypercall_port;
	part->signal_port = config->signal_port;
	*ret_part = part;
	return 0;
}

void partition_free(struct partition *part)
{
	if (part)
		part->ops->destroy(part);
}

static bool range_valid(gpa_t gpa, uint64_t bytes)
{
	return bytes && IS_ALIGNED(gpa | bytes, PAGE_BYTES) && gpa < GPA_LIMIT &&
	       bytes <= GPA_LIMIT - gpa;
}

/*
 * The RAM table is read by any thread without a lock: an entry is complete before ram_count covers
 * it, and one that is forgotten only loses its length.
 */
static void remember_ram(struct partition *part, gpa_t gpa, uint64_t bytes, void *hva)
{
	unsigned int i = 0, count = part->ram_count;

	while (i < count && part->ram[i].bytes)
		i++;
	if (i == PARTITION_MAX_SLOTS)
		return; /* no engine has that many; devices would not see this one */
	part->ram[i].gpa = gpa;
	part->ram[i].hva = hva;
	part->ram[i].bytes = bytes;
	if (i == count)
		part->ram_count = count + 1;
}

static void forget_ram(struct partition *part, gpa_t gpa)
{
	for (unsigned int i = 0; i < part->ram_count; i++)
		if (part->ram[i].gpa == gpa)
			part->ram[i].bytes = 0;
}

int partition_map_gpa(struct partition *part, gpa_t gpa, uint64_t bytes, void *hva,
		      unsigned int access)
{
	int r;

	if (!range_valid(gpa, bytes) || !hva || !IS_ALIGNED((uintptr_t)hva, PAGE_BYTES))
		return -EINVAL;
	if (!(access & MAP_GPA_READ) || (access & ~MAP_GPA_ALL))
		return -EINVAL;
	r = part->ops->map_gpa(part, gpa, bytes, hva, access);
	if (!r && (access & MAP_GPA_WRITE))
		remember_ram(part, gpa, bytes, hva);
	return r;
}

int partition_unmap_gpa(struct partition *part, gpa_t gpa, uint64_t bytes)
{
	if (!range_valid(gpa, bytes))
		return -EINVAL;
	forget_ram(part, gpa);
	return part->ops->unmap_gpa(part, gpa, bytes);
}

int partition_create_vp(struct partition *part, unsigned int index, struct vp **ret_vp)
{
	struct vp *vp;
	int r;

	if (index >= part->vp_count || !ret_vp)
		return -EINVAL;
	if (part->vps[index])
		return -EEXIST;
	r = part->ops->create_vp(part, index, &vp);
	if (r < 0)
		return r;
	vp->part = part;
	vp->index = index;
	part->vps[index] = vp;
	*ret_vp = vp;
	return 0;
}

static bool is_hypercall(const struct partition *part, const struct vp_exit *exit)
{
	return exit->reason == VP_EXIT_PIO && exit->pio.write && exit->pio.bytes == 1 &&
	       part->hypercall_port && exit->pio.port == part->hypercall_port;
}

int vp_run(struct vp *vp, struct vp_exit *exit)
{
	struct partition *part = vp->part;
	int r;

	if (!exit)
		return -EINVAL;
	r = part->ops->vp_run(vp, exit);
	if (r < 0)
		return r;
	if (is_hypercall(part, exit))
		exit->reason = VP_EXIT_HYPERCALL;
	if (unlikely(part->trace & PARTITION_TRACE_EXITS))
		trace_exit(vp, exit);
	return 0;
}

void vp_cancel(struct vp *vp)
{
	vp->part->ops->vp_cancel(vp);
}

int vp_get_regs(struct vp *vp, struct vp_regs *ret_regs)
{
	return vp->part->ops->vp_get_regs(vp, ret_regs);
}

int vp_set_regs(struct vp *vp, const struct vp_regs *regs)
{
	return vp->part->ops->vp_set_regs(vp, regs);
}

int vp_get_state(struct vp *vp, struct vp_state *ret_state)
{
	return vp->part->ops->vp_get_state(vp, ret_state);
}

int vp_get_mode(struct vp *vp, struct vp_mode *ret_mode)
{
	return vp->part->ops->vp_get_mode(vp, ret_mode);
}

int partition_get_clocks(struct partition *part, struct partition_clocks *ret_clocks)
{
	return part->ops->get_clocks(part, ret_clocks);
}

int partition_stop_time(struct partition *part)
{
	if (!part->ops->stop_time)
		return -ENOTSUP;
	if (part->time_stopped)
		return -EALREADY;
	part->time_stopped = true;
	return part->ops->stop_time(part);
}

int partition_start_time(struct partition *part)
{
	if (!part->ops->start_time)
		return -ENOTSUP;
	if (!part->time_stopped)
		return -EALREADY;
	part->time_stopped = false;
	return part->ops->start_time(part);
}

int vp_set_state(struct vp *vp, const struct vp_state *state)
{
	if (state->activity > VP_WAIT_FOR_SIPI)
		return -EINVAL;
	if (vp->part->time_stopped)
		return -EBUSY;
	return vp->part->ops->vp_set_state(vp, state);
}

int partition_send_msi(struct partition *part, const struct msi *msi)
{
	if ((msi->address & ~0xfffffull) != 0xfee00000)
		return -EINVAL;
	return part->ops->send_msi(part, msi);
}

int partition_inject_nmi(struct vp *vp)
{
	return vp->part->ops->inject_nmi(vp);
}

int partition_set_extint(struct partition *part, bool asserted)
{
	return part->ops->set_extint(part, asserted);
}

int partition_set_ioapic_routes(struct partition *part, const struct msi *routes, size_t count)
{
	if (count > PARTITION_MAX_ROUTES || (count && !routes))
		return -EINVAL;
	return part->ops->set_ioapic_routes(part, routes, count);
}

static bool doorbell_valid(const struct doorbell *bell)
{
	if (bell->eventfd < 0)
		return false;
	if (bell->bytes == 0)
		return bell->space == DOORBELL_MMIO && !bell->match;
	if (bell->bytes > 8 || (bell->bytes & (bell->bytes - 1)))
		return false;
	if (bell->space == DOORBELL_PIO)
		return bell->bytes <= 4 && bell->address + bell->bytes <= 0x10000;
	return bell->space == DOORBELL_MMIO && bell->address <= GPA_LIMIT - bell->bytes;
}

int partition_add_doorbell(struct partition *part, const struct doorbell *bell)
{
	if (!doorbell_valid(bell))
		return -EINVAL;
	return part->ops->add_doorbell(part, bell);
}

int partition_remove_doorbell(struct partition *part, const struct doorbell *bell)
{
	if (!doorbell_valid(bell))
		return -EINVAL;
	return part->ops->remove_doorbell(part, bell);
}

void partition_memory_written(struct partition *part, gpa_t gpa, uint64_t bytes)
{
	if (part->ops->memory_written && bytes && gpa + bytes > gpa)
		part->ops->memory_written(part, gpa, bytes);
}

int partition_flush_tlb(struct partition *part, struct vp *caller, uint64_t vp_mask)
{
	if (!part->ops->flush_tlb)
		return -ENOTSUP;
	return part->ops->flush_tlb(part, caller, vp_mask);
}

bool engine_can_flush_tlb(const struct engine *engine)
{
	return engine->ops->flush_tlb;
}

/* --- guest memory for devices --- */

void partition_set_memory(struct partition *part, const struct guest_memory *memory)
{
	part->memory = memory;
}

void *partition_ram_hva(struct partition *part, gpa_t gpa, uint64_t bytes)
{
	unsigned int count = part->ram_count;

	for (unsigned int i = 0; i < count; i++) {
		const struct partition_ram *ram = &part->ram[i];
		uint64_t offset = gpa - ram->gpa; /* wraps below it, to beyond any length */

		if (offset < ram->bytes && bytes && bytes <= ram->bytes - offset)
			return ram->hva + offset;
	}
	return NULL;
}

uint64_t partition_ram_offset(const struct partition *part, const void *hva)
{
	return (const uint8_t *)hva - part->memory->base;
}

int partition_read(struct partition *part, gpa_t gpa, void *bytes, uint64_t count)
{
	const void *hva = partition_ram_hva(part, gpa, count);

	if (!hva)
		return count ? -EFAULT : 0;
	memcpy(bytes, hva, count);
	return 0;
}

int partition_write(struct partition *part, gpa_t gpa, const void *bytes, uint64_t count)
{
	void *hva = partition_ram_hva(part, gpa, count);

	if (!hva)
		return count ? -EFAULT : 0;
	memcpy(hva, bytes, count);
	partition_memory_written(part, gpa, count);
	return 0;
}

int partition_get_dirty(struct partition *part, gpa_t gpa, uint64_t bytes, uint64_t *bitmap)
{
	if (!part->ops->get_dirty)
		return -ENOTSUP;
	if (!range_valid(gpa, bytes))
		return -ENOENT;
	return part->ops->get_dirty(part, gpa, bytes, bitmap);
}

/* RCX: the call's control word, RDX: connection id and flag. Only RAX and the flags may change. */
static size_t write_signal_code(uint16_t port, uint8_t *code)
{
	const uint8_t low = (uint8_t)port, high = (uint8_t)(port >> 8);
	const uint8_t bytes[] = {
		0x48, 0x81, 0xf9, 0x5d, 0x00, 0x01, 0x00, /* cmp rcx, HvCallSignalEvent | fast */
		0x75, 0x15,				  /* jne slow */
		0x48, 0x89, 0xd0,			  /* mov rax, rdx */
		0x48, 0xc1, 0xe8, 0x20,			  /* shr rax, 32 */
		0x75, 0x0c,				  /* jnz slow: it has a flag number */
		0x89, 0xd0,				  /* mov eax, edx */
		0x52,					  /* push rdx */
		0x66, 0xba, low, high,			  /* mov dx, port */
		0xef,					  /* out dx, eax */
		0x5a,					  /* pop rdx */
		0x31, 0xc0,				  /* xor eax, eax: HV_STATUS_SUCCESS */
		0xc3,					  /* ret */
	};

	memcpy(code, bytes, sizeof(bytes));
	return sizeof(bytes);
}

size_t partition_write_hypercall_code(const struct partition *part, bool long_mode,
				      uint8_t code[PARTITION_HYPERCALL_CODE_BYTES],
				      size_t *ret_out_at)
{
	static const uint8_t endbr64[] = {0xf3, 0x0f, 0x1e, 0xfa};
	const uint8_t out_imm8_ret[] = {0xe6, (uint8_t)part->hypercall_port, 0xc3};
	size_t bytes = sizeof(endbr64);

	if (!part->hypercall_port)
		return 0;
	memcpy(code, endbr64, sizeof(endbr64));
	if (part->signal_port && long_mode)
		bytes += write_signal_code(part->signal_port, code + bytes);
	if (ret_out_at)
		*ret_out_at = bytes;
	memcpy(code + bytes, out_imm8_ret, sizeof(out_imm8_ret));
	return bytes + sizeof(out_imm8_ret);
}

size_t partition_get_stats(struct partition *part, struct partition_stat *stats, size_t max)
{
	return part->ops->get_stats ? part->ops->get_stats(part, stats, max) : 0;
}

void partition_set_trace(struct partition *part, unsigned int trace)
{
	part->trace = trace;
}
