/*
 * partition.h - THE interface between Mullion and a hypervisor
 *
 * A partition is guest physical memory plus virtual processors (VPs). Engines (engine/kvm,
 * engine/dbt) implement struct partition_ops; everyone else calls the functions below, which
 * check the caller's side of the contract once and call through. No device knows which engine
 * runs it: ask for an ability (a non-NULL member), never for a name.
 *
 * Threads: each function says who may call it. "VP thread" is the one thread that runs that VP;
 * it is also any other thread while no thread runs the VP (before the first vp_run(), or while
 * the owner is known to be parked). A VP thread blocks only inside vp_run().
 *
 * Division of labour: the engine owns the processors, their local APICs and the MSRs and CPUID
 * leaves of a real processor; PIC, IOAPIC, PIT and all other devices are the caller's.
 */
#ifndef PARTITION_PARTITION_H
#define PARTITION_PARTITION_H

#include <stdatomic.h>

#include "base.h"
#include "vp_state.h"

#define PARTITION_MAX_VPS 64
#define PARTITION_MAX_SLOTS 32
#define PARTITION_MAX_ROUTES 24 /* an IOAPIC's pins */
#define PARTITION_MAX_MSR_RANGES 16

struct partition;
struct vp;
struct doorbell;

/* --- guest memory: one memfd, mapped once (guest_memory.c) --- */

struct guest_memory {
	int fd;
	uint8_t *base;  /* host address of byte 0 */
	uint64_t bytes;
};

/*
 * guest_memory_new() - a zeroed, page-aligned memory of @bytes (a multiple of 4 KiB)
 * Guard zones of at least 2 MiB, mapped without access, stand on both sides.
 * Returns: 0; -ENOMEM when the host cannot map it; -EINVAL for 0 or unaligned sizes.
 */
int guest_memory_new(uint64_t bytes, struct guest_memory *ret_memory);
void guest_memory_free(struct guest_memory *memory);

/* --- configuration --- */

/* One CPUID leaf as the guest sees it. Leaves not listed read as zeros. */
struct cpuid_leaf {
	uint32_t leaf, subleaf;
	bool subleaf_matters;
	uint32_t eax, ebx, ecx, edx;
};
#define PARTITION_MAX_CPUID 128

struct partition_config {
	unsigned int vp_count; /* 1..PARTITION_MAX_VPS */
	/*
	 * What the guest's CPUID shows; engine.supported_cpuid() proposes, vm decides. The engine
	 * fills in by itself what depends on the VP or its state: APIC id, OSXSAVE, XSAVE sizes.
	 */
	const struct cpuid_leaf *cpuid; /* copied */
	size_t cpuid_count;
	/*
	 * MSRs that exit instead of being handled by the engine: [first, last], copied; at most
	 * PARTITION_MAX_MSR_RANGES.
	 */
	const struct msr_range {
		uint32_t first, last;
	} * exit_msrs;
	size_t exit_msr_count;
	/*
	 * A write of a byte to this port is a hypercall (VP_EXIT_HYPERCALL instead of
	 * VP_EXIT_PIO); 0 = none, at most 0xff: a port that needs DX could not leave the registers
	 * alone. partition_write_hypercall_code() makes the code for it.
	 */
	uint16_t hypercall_port;
	/*
	 * A doubleword written to this port by the code of the hypercall page is the fast
	 * HvCallSignalEvent of that connection, to be bound as a doorbell; 0 = none.
	 */
	uint16_t signal_port;
	/*
	 * The 8259's INTA cycle: called on a VP thread when VP 0 accepts an ExtINT; returns the
	 * vector, or -1 when there is no request any more. May take the caller's chipset lock.
	 */
	int (*acknowledge_extint)(void *ctx);
	void *ctx;
};

/* --- exits --- */

enum vp_exit_reason {
	VP_EXIT_PIO,       /* port I/O, one element */
	VP_EXIT_MMIO,      /* access to guest physical memory that nothing is mapped at */
	VP_EXIT_MSR,       /* RDMSR/WRMSR in config.exit_msrs, or one the engine does not know */
	VP_EXIT_HYPERCALL, /* write to config.hypercall_port; registers via vp_get_regs() */
	VP_EXIT_EOI,       /* end of interrupt of a level-triggered vector: tell the IOAPIC */
	VP_EXIT_SHUTDOWN,  /* triple fault; exit.shutdown tells of the last exception */
	VP_EXIT_CANCELLED, /* vp_cancel() was called, or a signal arrived */
	VP_EXIT_FAILED     /* the engine cannot go on; exit.failed says why */
};

/*
 * For reads (write == false) the caller stores the answer in the exit before the next vp_run()
 * of that VP, which completes the instruction. An exit that was not answered reads as given here
 * initially: all ones.
 */
struct vp_exit {
	enum vp_exit_reason reason;
	union {
		struct {
			uint16_t port;
			uint8_t bytes; /* 1, 2, 4 */
			bool write;
			uint32_t data;
		} pio;
		struct {
			gpa_t gpa;
			uint8_t bytes; /* 1..8; wider or crossing accesses come as several exits */
			bool write;
			uint64_t data;
		} mmio;
		struct {
			uint32_t index;
			bool write;
			bool fault; /* set by the caller: raise #GP instead of completing */
			uint64_t data;
		} msr;
		struct {
			uint8_t vector;
		} eoi;
		struct {
			uint64_t rip, cr2;
			uint8_t vector;    /* the exception that could not be delivered last; 0xff: unknown */
			uint32_t error;
		} shutdown;
		struct {
			char why[160];
			uint64_t rip;
		} failed;
	};
};

/* Access bits of a mapping. */
#define MAP_GPA_READ    1u
#define MAP_GPA_WRITE   2u /* without it a guest write is an MMIO exit (ROM) */
#define MAP_GPA_EXECUTE 4u
#define MAP_GPA_DIRTY   8u /* partition_get_dirty() works on it */

/* --- engines --- */

/* Why an engine can or cannot be used here: a stable code for scripts and a sentence. */
struct engine_probe {
	bool usable;
	const char *code; /* e.g. "ok", "no-device", "no-permission", "no-hardware-virtualization" */
	char why[200];
};

struct partition_ops;
struct engine {
	const char *name;        /* "kvm", "dbt" */
	const char *description;
	void (*probe)(struct engine_probe *ret_probe);
	/* Fills @leaves with what this engine on this host can show a guest; returns the count. */
	size_t (*supported_cpuid)(struct cpuid_leaf leaves[PARTITION_MAX_CPUID]);
	const struct partition_ops *ops;
};

extern const struct engine kvm_engine;
extern const struct engine dbt_engine;

/* An interrupt message as a device writes it: address 0xfeexxxxx, data (SDM vol. 3, "MSI"). */
struct msi {
	uint64_t address;
	uint32_t data;
};

/* The little of a VP's state that deciding about a hypercall takes. */
struct vp_mode {
	uint8_t cpl;
	bool protected_mode; /* CR0.PE */
	bool long_mode;	     /* EFER.LMA */
};

/* The guest's clocks. Their rates do not change while the partition lives. */
struct partition_clocks {
	uint64_t tsc_hz;
	uint64_t apic_hz;    /* the local APIC timers', before the divider */
	/* VP 0's TSC minus the host's, until the guest writes it or its time is stopped. */
	uint64_t tsc_offset;
};

struct partition_stat {
	const char *name;
	uint64_t value;
};

/* What an engine implements; contracts are those of the wrappers below. */
struct partition_ops {
	int (*create)(const struct partition_config *config, struct partition **ret_part);
	void (*destroy)(struct partition *part);
	int (*map_gpa)(struct partition *part, gpa_t gpa, uint64_t bytes, void *hva,
		       unsigned int access);
	int (*unmap_gpa)(struct partition *part, gpa_t gpa, uint64_t bytes);
	int (*create_vp)(struct partition *part, unsigned int index, struct vp **ret_vp);
	int (*vp_run)(struct vp *vp, struct vp_exit *exit);
	void (*vp_cancel)(struct vp *vp);
	int (*vp_get_regs)(struct vp *vp, struct vp_regs *ret_regs);
	int (*vp_set_regs)(struct vp *vp, const struct vp_regs *regs);
	int (*vp_get_state)(struct vp *vp, struct vp_state *ret_state);
	int (*vp_set_state)(struct vp *vp, const struct vp_state *state);
	int (*send_msi)(struct partition *part, const struct msi *msi);
	int (*inject_nmi)(struct vp *vp);
	int (*set_extint)(struct partition *part, bool asserted);
	int (*set_ioapic_routes)(struct partition *part, const struct msi *routes, size_t count);
	int (*add_doorbell)(struct partition *part, const struct doorbell *bell);
	int (*remove_doorbell)(struct partition *part, const struct doorbell *bell);
	/* NULL: this engine cannot track guest writes. */
	int (*get_dirty)(struct partition *part, gpa_t gpa, uint64_t bytes, uint64_t *bitmap);
	/* NULL: host writes need no announcement. */
	void (*memory_written)(struct partition *part, gpa_t gpa, uint64_t bytes);
	int (*vp_get_mode)(struct vp *vp, struct vp_mode *ret_mode);
	int (*get_clocks)(struct partition *part, struct partition_clocks *ret_clocks);
	/* NULL: the guest must flush its processors' TLBs by itself. */
	int (*flush_tlb)(struct partition *part, struct vp *caller, uint64_t vp_mask);
	/* NULL, both: the guest's time cannot be stopped. */
	int (*stop_time)(struct partition *part);
	int (*start_time)(struct partition *part);
	/*
	 * Does the engine on this host answer Hyper-V's EOI, ICR, TPR and VP assist page MSRs
	 * (0x40000070..73), unless they are in config.exit_msrs? NULL: no.
	 */
	bool (*has_hyperv_apic_msrs)(void);
	/* NULL: no statistics. */
	size_t (*get_stats)(struct partition *part, struct partition_stat *stats, size_t max);
};

/* Engines embed these as their first members. */
struct partition {
	const struct engine *engine;
	const struct partition_ops *ops;
	const struct guest_memory *memory; /* partition_set_memory() */
	struct partition_ram {
		gpa_t gpa;
		uint64_t bytes;
		uint8_t *hva;
	} ram[PARTITION_MAX_SLOTS]; /* the writable mappings */
	atomic_uint ram_count;
	struct vp *vps[PARTITION_MAX_VPS];
	unsigned int vp_count;
	uint16_t hypercall_port, signal_port;
	unsigned int trace; /* PARTITION_TRACE_* */
	bool time_stopped;
};
struct vp {
	struct partition *part;
	unsigned int index;
};

/* --- the interface --- */

/*
 * partition_new() - create a partition with no memory and no VPs on @engine
 * Returns: 0; -EINVAL for a bad configuration; -ENODEV/-EACCES/-ENOTSUP when the host cannot;
 *          -ENOMEM. The caller frees it with partition_free() after all VP threads have ended.
 */
int partition_new(const struct engine *engine, const struct partition_config *config,
		  struct partition **ret_part);
void partition_free(struct partition *part);

/*
 * partition_map_gpa() - let the guest see host memory at [gpa, gpa + bytes)
 * Page-aligned; @hva is borrowed until unmapped. May be called while VPs run.
 * Returns: 0; -EINVAL unaligned or empty; -EEXIST overlaps; -ENOSPC no slot left.
 */
int partition_map_gpa(struct partition *part, gpa_t gpa, uint64_t bytes, void *hva,
		      unsigned int access);
/* Exactly a range given to map_gpa before; -ENOENT otherwise. No VP sees it after the return. */
int partition_unmap_gpa(struct partition *part, gpa_t gpa, uint64_t bytes);

/*
 * partition_create_vp() - create VP @index (0..vp_count-1) in the state after power-on reset:
 * VP 0 runs from 0xfffffff0 in real mode, the others wait for a SIPI. APIC id = @index.
 */
int partition_create_vp(struct partition *part, unsigned int index, struct vp **ret_vp);

/*
 * vp_run() - run until an exit; a HLT waits inside for an interrupt, NMI, INIT/SIPI or cancel
 * @exit: in: the answer to the previous exit; out: the new one. One struct per VP, reused.
 * Context: the VP thread, which should not use SIGSEGV, SIGFPE, SIGBUS or SIGILL handlers of its own.
 *          Between two calls it leaves its signal mask, alternate signal stack and GS base alone.
 * Returns: 0 with *exit filled; a negative errno only for misuse.
 */
int vp_run(struct vp *vp, struct vp_exit *exit);

/* vp_cancel() - make the running, or else the next, vp_run() return VP_EXIT_CANCELLED. Any thread. */
void vp_cancel(struct vp *vp);

/*
 * Registers and state; VP thread, between exits. After a PIO, MMIO or MSR exit the instruction is
 * not complete: RIP may be before or after it, so state to be saved is taken after a cancelled run.
 * set_state: -EINVAL when the state is impossible (reserved bits), -EBUSY while time is stopped;
 * then nothing was changed.
 */
int vp_get_regs(struct vp *vp, struct vp_regs *ret_regs);
int vp_set_regs(struct vp *vp, const struct vp_regs *regs);
int vp_get_state(struct vp *vp, struct vp_state *ret_state);
int vp_set_state(struct vp *vp, const struct vp_state *state);
int vp_get_mode(struct vp *vp, struct vp_mode *ret_mode);

/* partition_get_clocks() - VP 0's thread, before it runs first or between two runs. */
int partition_get_clocks(struct partition *part, struct partition_clocks *ret_clocks);

/*
 * partition_stop_time(), partition_start_time() - in between, the guest's time stands still
 * The VPs' TSCs and local APIC timers go on from where they were stopped; meanwhile no timer
 * expires, vp_get_state() tells of the moment of the stop, and interrupts that devices send are
 * kept. The caller's devices have clocks of their own to stop.
 * Context: any thread, while no thread is inside vp_run() of any VP, until start has returned.
 * Returns: 0; -ENOTSUP the engine cannot: time goes on; -EALREADY it is stopped (or runs) already;
 *          or the host's error: then time has been lost, but it runs (or stands) nevertheless.
 */
int partition_stop_time(struct partition *part);
int partition_start_time(struct partition *part);

/* Interrupts; any thread. */
int partition_send_msi(struct partition *part, const struct msi *msi);
int partition_inject_nmi(struct vp *vp);
/* Level of the 8259's INTR line, wired to VP 0's LINT0. */
int partition_set_extint(struct partition *part, bool asserted);
/*
 * The IOAPIC's current redirection entries as messages, so that the engine knows whose EOI to report.
 * -EINVAL for more than PARTITION_MAX_ROUTES.
 */
int partition_set_ioapic_routes(struct partition *part, const struct msi *routes, size_t count);

/*
 * A doorbell: a guest write of @bytes to @address signals @eventfd without an exit.
 * -EEXIST for the same address and match twice; remove with the same members.
 */
struct doorbell {
	enum doorbell_space { DOORBELL_PIO, DOORBELL_MMIO } space;
	uint64_t address;
	uint8_t bytes; /* 1, 2, 4, 8; 0 = any size (MMIO only) */
	bool match;    /* only when the value written is @value */
	uint64_t value;
	int eventfd; /* borrowed */
};
int partition_add_doorbell(struct partition *part, const struct doorbell *bell);
int partition_remove_doorbell(struct partition *part, const struct doorbell *bell);

/*
 * partition_get_dirty() - pages of [gpa, gpa + bytes) that the guest wrote since the last call
 * The range is one mapping made with MAP_GPA_DIRTY; one bit a page; the log is cleared. @bitmap has
 * a bit for every page, rounded up to whole words. Pages that were only read may be among them
 * when an engine makes a page writable at its first use.
 * Returns: 0; -ENOTSUP; -ENOENT.
 */
int partition_get_dirty(struct partition *part, gpa_t gpa, uint64_t bytes, uint64_t *bitmap);

/*
 * partition_memory_written() - the host wrote guest memory that the guest may have executed
 * Whoever writes guest memory after the first vp_run() calls this before telling the guest
 * (DMA, reloading a kernel); no VP runs the old code after the return. Any thread but a VP thread
 * inside vp_run(). Cheap for memory that was never executed.
 */
void partition_memory_written(struct partition *part, gpa_t gpa, uint64_t bytes);

/*
 * partition_flush_tlb() - drop every translation of the VPs in @vp_mask, synchronously
 * @caller: the VP on whose thread this is called, between its exits
 * After the return no VP of the mask uses a translation made before the call, where it runs.
 * Returns: 0; -ENOTSUP when the engine cannot (see engine_can_flush_tlb()).
 */
int partition_flush_tlb(struct partition *part, struct vp *caller, uint64_t vp_mask);
bool engine_can_flush_tlb(const struct engine *engine);

/* --- guest memory for devices; any thread --- */

/* partition_set_memory() - which guest_memory the RAM mappings are made from; before the first map. */
void partition_set_memory(struct partition *part, const struct guest_memory *memory);

/*
 * partition_ram_hva() - host address of guest RAM [@gpa, @gpa + @bytes), @bytes > 0
 * Returns NULL unless the whole range lies within one writable mapping. Valid until that is
 * unmapped. The guest may change what is there at any time: copy once, check, then use; and
 * partition_memory_written() after writing where code may have been.
 */
void *partition_ram_hva(struct partition *part, gpa_t gpa, uint64_t bytes);

/* Bounded copies across pages; nothing is copied on failure. write() announces what it wrote.
 * Returns: 0; -EFAULT when not all of the range is RAM. */
int partition_read(struct partition *part, gpa_t gpa, void *bytes, uint64_t count);
int partition_write(struct partition *part, gpa_t gpa, const void *bytes, uint64_t count);

/* partition_ram_offset() - where @hva (of partition_ram_hva()) lies in guest_memory.fd, for mmap(2) */
uint64_t partition_ram_offset(const struct partition *part, const void *hva);

/*
 * partition_write_hypercall_code() - the code of the hypercall page, for a guest in long mode or not
 * Without a signal port, or outside of long mode: `endbr64; out imm8, al; ret`; all registers are
 * left alone. With one, long mode code first tells the fast HvCallSignalEvent (no flag) apart and
 * rings the doorbell, result 0.
 * @ret_out_at: offset of the `out imm8, al`; RIP is there or behind it at the exit. May be NULL.
 * Returns its length; 0 without a hypercall port.
 */
#define PARTITION_HYPERCALL_CODE_BYTES 48
size_t partition_write_hypercall_code(const struct partition *part, bool long_mode,
				      uint8_t code[PARTITION_HYPERCALL_CODE_BYTES],
				      size_t *ret_out_at);

size_t partition_get_stats(struct partition *part, struct partition_stat *stats, size_t max);

/* What --trace can ask of the engine. */
#define PARTITION_TRACE_EXITS      BIT(0)
#define PARTITION_TRACE_EXCEPTIONS BIT(1)
#define PARTITION_TRACE_INTERRUPTS BIT(2)
#define PARTITION_TRACE_BLOCKS     BIT(3)
#define PARTITION_TRACE_MMU        BIT(4)
void partition_set_trace(struct partition *part, unsigned int trace);

#endif
