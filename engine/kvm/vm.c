/*
 * vm.c - a partition on KVM: memory slots, interrupts, doorbells, dirty log, statistics
 *
 * Invariants:
 *   1. slots[i] mirrors KVM's memory slot i; `lock` is held while both change.
 *   2. KVM itself refuses overlapping slots and doorbells bound twice, and holds off the return of
 *      a removal until no VP uses the old mapping; nothing of that is repeated here.
 *   3. GSIs 0..23 are the IOAPIC's pins and exist only so that KVM knows which vectors are level
 *      triggered: interrupts themselves are sent as messages.
 */
#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <unistd.h>

#include "kvm_internal.h"

/* Three pages that Intel processors without "unrestricted guest" need; the place QEMU uses too. */
#define IDENTITY_MAP_GPA 0xfeffc000ull
#define TSS_GPA		 0xfeffd000ul

#define KVM_APIC_TIMER_HZ 1000000000ull /* one count a nanosecond, in every version of KVM */

#define MSI_LEVEL_TRIGGERED BIT(15)

int kvm_call(int fd, unsigned long request, void *argument)
{
	int r;

	do {
		r = ioctl(fd, request, argument);
	} while (r < 0 && errno == EINTR);
	return r < 0 ? -errno : r;
}

int kvm_call_value(int fd, unsigned long request, unsigned long value)
{
	return kvm_call(fd, request, (void *)value);
}

/* --- creation --- */

static int open_device(struct kvm_partition *part)
{
	part->kvm_fd = open(KVM_DEVICE, O_RDWR | O_CLOEXEC);
	if (part->kvm_fd < 0)
		return errno == EPERM || errno == EACCES ? -EACCES : -ENODEV;
	return kvm_missing_capability(part->kvm_fd) ? -ENOTSUP : 0;
}

static int create_vm(struct kvm_partition *part)
{
	int r = kvm_call_value(part->kvm_fd, KVM_CREATE_VM, 0);

	if (r < 0)
		return r;
	part->vm_fd = r;
	r = kvm_call_value(part->kvm_fd, KVM_GET_VCPU_MMAP_SIZE, 0);
	if (r < 0)
		return r;
	part->run_bytes = (size_t)r;
	return 0;
}

static int set_up_vm(struct kvm_partition *part, const struct partition_config *config)
{
	struct kvm_enable_cap split = {.cap = KVM_CAP_SPLIT_IRQCHIP,
				       .args[0] = PARTITION_MAX_ROUTES};
	uint64_t identity = IDENTITY_MAP_GPA;
	int r;

	r = kvm_call(part->vm_fd, KVM_SET_IDENTITY_MAP_ADDR, &identity);
	if (r >= 0)
		r = kvm_call_value(part->vm_fd, KVM_SET_TSS_ADDR, TSS_GPA);
	if (r >= 0)
		r = kvm_call(part->vm_fd, KVM_ENABLE_CAP, &split);
	if (r >= 0)
		r = kvm_set_msr_filter(part, config);
	if (r >= 0)
		r = kvm_cpuid_from_config(config, &part->cpuid);
	return r;
}

static void kvm_destroy(struct partition *base)
{
	struct kvm_partition *part = to_kvm(base);

	for (unsigned int i = 0; i < PARTITION_MAX_VPS; i++)
		if (base->vps[i])
			kvm_vp_free(to_kvm_vp(base->vps[i]), part->run_bytes);
	if (part->vm_fd >= 0)
		close(part->vm_fd);
	if (part->kvm_fd >= 0)
		close(part->kvm_fd);
	pthread_rwlock_destroy(&part->message_lock);
	pthread_mutex_destroy(&part->lock);
	free(part->cpuid);
	free(part);
}

static int kvm_create(const struct partition_config *config, struct partition **ret_part)
{
	struct kvm_partition *part = calloc(1, sizeof(*part));
	int r;

	if (!part)
		return -ENOMEM;
	part->kvm_fd = part->vm_fd = -1;
	part->acknowledge_extint = config->acknowledge_extint;
	part->ctx = config->ctx;
	pthread_mutex_init(&part->lock, NULL);
	pthread_rwlock_init(&part->message_lock, NULL);
	r = kvm_install_kick();
	if (r >= 0)
		r = open_device(part);
	if (r >= 0)
		r = create_vm(part);
	if (r >= 0)
		r = set_up_vm(part, config);
	if (r < 0) {
		kvm_destroy(&part->part);
		return r;
	}
	*ret_part = &part->part;
	return 0;
}

/* --- memory --- */

/* Slot of exactly this range, or a free one for bytes == 0. */
static struct kvm_slot *find_slot(struct kvm_partition *part, gpa_t gpa, uint64_t bytes)
{
	for (unsigned int i = 0; i < PARTITION_MAX_SLOTS; i++) {
		struct kvm_slot *slot = &part->slots[i];

		if (slot->bytes == bytes && (!bytes || slot->gpa == gpa))
			return slot;
	}
	return NULL;
}

static int set_slot(struct kvm_partition *part, struct kvm_slot *slot, gpa_t gpa, uint64_t bytes,
		    void *hva, unsigned int access)
{
	struct kvm_userspace_memory_region region = {
		.slot = (uint32_t)(slot - part->slots),
		.flags = (access & MAP_GPA_WRITE ? 0 : KVM_MEM_READONLY) |
			 (access & MAP_GPA_DIRTY ? KVM_MEM_LOG_DIRTY_PAGES : 0),
		.guest_phys_addr = gpa,
		.memory_size = bytes,
		.userspace_addr = (uintptr_t)hva,
	};
	int r = kvm_call(part->vm_fd, KVM_SET_USER_MEMORY_REGION, &region);

	if (r < 0)
		return r;
	*slot = (struct kvm_slot){.gpa = gpa, .bytes = bytes, .access = access};
	return 0;
}

static int kvm_map_gpa(struct partition *base, gpa_t gpa, uint64_t bytes, void *hva,
		       unsigned int access)
{
	struct kvm_partition *part = to_kvm(base);
	struct kvm_slot *slot;
	int r = -ENOSPC;

	pthread_mutex_lock(&part->lock);
	slot = find_slot(part, 0, 0);
	if (slot)
		r = set_slot(part, slot, gpa, bytes, hva, access);
	pthread_mutex_unlock(&part->lock);
	return r;
}

static int kvm_unmap_gpa(struct partition *base, gpa_t gpa, uint64_t bytes)
{
	struct kvm_partition *part = to_kvm(base);
	struct kvm_slot *slot;
	int r = -ENOENT;

	pthread_mutex_lock(&part->lock);
	slot = find_slot(part, gpa, bytes);
	if (slot)
		r = set_slot(part, slot, gpa, 0, NULL, MAP_GPA_READ | MAP_GPA_WRITE);
	pthread_mutex_unlock(&part->lock);
	return r;
}

static int kvm_get_dirty(struct partition *base, gpa_t gpa, uint64_t bytes, uint64_t *bitmap)
{
	struct kvm_partition *part = to_kvm(base);
	struct kvm_dirty_log log = {.dirty_bitmap = bitmap};
	struct kvm_slot *slot;
	int r = -ENOENT;

	pthread_mutex_lock(&part->lock);
	slot = find_slot(part, gpa, bytes);
	if (slot && (slot->access & MAP_GPA_DIRTY)) {
		log.slot = (uint32_t)(slot - part->slots);
		r = kvm_call(part->vm_fd, KVM_GET_DIRTY_LOG, &log);
	}
	pthread_mutex_unlock(&part->lock);
	return r;
}

/* --- interrupts --- */

static int kvm_send_msi(struct partition *base, const struct msi *msi)
{
	struct kvm_partition *part = to_kvm(base);
	struct kvm_msi message = {
		.address_lo = (uint32_t)msi->address,
		.address_hi = (uint32_t)(msi->address >> 32),
		.data = msi->data,
	};
	int r;

	pthread_rwlock_rdlock(&part->message_lock);
	r = kvm_call(part->vm_fd, KVM_SIGNAL_MSI, &message);
	pthread_rwlock_unlock(&part->message_lock);
	atomic_fetch_add_explicit(&part->messages, 1, memory_order_relaxed);
	/* A message that no local APIC takes is lost, as on a real bus: not the sender's error. */
	return r == -EINVAL ? -EINVAL : 0;
}

static int kvm_inject_nmi(struct vp *vp)
{
	kvm_vp_request(to_kvm_vp(vp), REQUEST_NMI);
	return 0;
}

static int kvm_set_extint(struct partition *base, bool asserted)
{
	struct kvm_partition *part = to_kvm(base);

	atomic_store(&part->extint, asserted);
	if (asserted && base->vps[0])
		kvm_vp_request(to_kvm_vp(base->vps[0]), REQUEST_EXTINT);
	return 0;
}

/* struct kvm_irq_routing with its entries inside. */
struct routing_table {
	uint32_t count, flags;
	struct kvm_irq_routing_entry entries[PARTITION_MAX_ROUTES];
};
static_assert(offsetof(struct routing_table, entries) == offsetof(struct kvm_irq_routing, entries),
	      "kvm_irq_routing");

static int kvm_set_ioapic_routes(struct partition *base, const struct msi *routes, size_t count)
{
	struct routing_table table = {0};

	for (size_t pin = 0; pin < count; pin++) {
		if (!(routes[pin].data & MSI_LEVEL_TRIGGERED))
			continue; /* nobody waits for the end of an edge */
		table.entries[table.count++] = (struct kvm_irq_routing_entry){
			.gsi = (uint32_t)pin,
			.type = KVM_IRQ_ROUTING_MSI,
			.u.msi = {.address_lo = (uint32_t)routes[pin].address,
				  .address_hi = (uint32_t)(routes[pin].address >> 32),
				  .data = routes[pin].data},
		};
	}
	return kvm_call(to_kvm(base)->vm_fd, KVM_SET_GSI_ROUTING, &table);
}

/* --- doorbells --- */

static int change_doorbell(struct partition *base, const struct doorbell *bell, uint32_t flags)
{
	struct kvm_ioeventfd change = {
		.datamatch = bell->match ? bell->value : 0,
		.addr = bell->address,
		.len = bell->bytes,
		.fd = bell->eventfd,
		.flags = flags | (bell->match ? KVM_IOEVENTFD_FLAG_DATAMATCH : 0) |
			 (bell->space == DOORBELL_PIO ? KVM_IOEVENTFD_FLAG_PIO : 0),
	};

	return kvm_call(to_kvm(base)->vm_fd, KVM_IOEVENTFD, &change);
}

static int kvm_add_doorbell(struct partition *base, const struct doorbell *bell)
{
	return change_doorbell(base, bell, 0);
}

static int kvm_remove_doorbell(struct partition *base, const struct doorbell *bell)
{
	return change_doorbell(base, bell, KVM_IOEVENTFD_FLAG_DEASSIGN);
}

/* --- clocks --- */

static int kvm_get_clocks(struct partition *base, struct partition_clocks *clocks)
{
	struct kvm_vp *vp = to_kvm_vp(base->vps[0]);
	int khz = kvm_call_value(vp->fd, KVM_GET_TSC_KHZ, 0);

	if (khz <= 0)
		return khz < 0 ? khz : -EIO;
	clocks->tsc_hz = khz * 1000ull;
	clocks->apic_hz = KVM_APIC_TIMER_HZ;
	return kvm_vp_get_tsc_offset(vp, &clocks->tsc_offset);
}

/* --- statistics --- */

static const struct {
	const char *name;
	unsigned int code;
} exit_names[] = {
	{"exits_pio", KVM_EXIT_IO},
	{"exits_mmio", KVM_EXIT_MMIO},
	{"exits_msr_read", KVM_EXIT_X86_RDMSR},
	{"exits_msr_write", KVM_EXIT_X86_WRMSR},
	{"exits_eoi", KVM_EXIT_IOAPIC_EOI},
	{"exits_interrupt_window", KVM_EXIT_IRQ_WINDOW_OPEN},
	{"exits_signal", KVM_EXIT_INTR},
	{"exits_shutdown", KVM_EXIT_SHUTDOWN},
	{"exits_internal_error", KVM_EXIT_INTERNAL_ERROR},
};

/* Read without stopping the VPs: each counter is one aligned word, good enough to look at. */
static uint64_t count_exits(struct partition *part, unsigned int code)
{
	uint64_t sum = 0;

	for (unsigned int i = 0; i < part->vp_count; i++)
		if (part->vps[i])
			sum += __atomic_load_n(&to_kvm_vp(part->vps[i])->exits[code],
					       __ATOMIC_RELAXED);
	return sum;
}

static size_t kvm_get_stats(struct partition *base, struct partition_stat *stats, size_t max)
{
	struct kvm_partition *part = to_kvm(base);
	size_t count = 0;

	for (size_t i = 0; i < ARRAY_SIZE(exit_names) && count < max; i++)
		stats[count++] = (struct partition_stat){exit_names[i].name,
							 count_exits(base, exit_names[i].code)};
	if (count < max)
		stats[count++] = (struct partition_stat){"messages", atomic_load(&part->messages)};
	return count;
}

static const struct partition_ops kvm_ops = {
	.create = kvm_create,
	.destroy = kvm_destroy,
	.map_gpa = kvm_map_gpa,
	.unmap_gpa = kvm_unmap_gpa,
	.create_vp = kvm_create_vp,
	.vp_run = kvm_vp_run,
	.vp_cancel = kvm_vp_cancel,
	.vp_get_regs = kvm_vp_get_regs,
	.vp_set_regs = kvm_vp_set_regs,
	.vp_get_state = kvm_vp_get_state,
	.vp_set_state = kvm_vp_set_state,
	.send_msi = kvm_send_msi,
	.inject_nmi = kvm_inject_nmi,
	.set_extint = kvm_set_extint,
	.set_ioapic_routes = kvm_set_ioapic_routes,
	.add_doorbell = kvm_add_doorbell,
	.remove_doorbell = kvm_remove_doorbell,
	.get_dirty = kvm_get_dirty,
	.vp_get_mode = kvm_vp_get_mode,
	.get_clocks = kvm_get_clocks,
	.stop_time = kvm_stop_time,
	.start_time = kvm_start_time,
	.has_hyperv_apic_msrs = kvm_has_hyperv_apic_msrs,
	.get_stats = kvm_get_stats,
};

const struct engine kvm_engine = {
	.name = "kvm",
	.description = "hardware virtualization through the Linux kernel's KVM",
	.probe = kvm_probe,
	.supported_cpuid = kvm_supported_cpuid,
	.ops = &kvm_ops,
};
