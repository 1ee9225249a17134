/*
 * cases_io.c - exits: ports, memory-mapped I/O, MSRs, hypercalls, CPUID, doorbells, dirty log
 */
#include <errno.h>
#include <string.h>
#include <sys/eventfd.h>
#include <unistd.h>

#include "rig.h"

#define CASE(name, vps, not_emulated) bool case_##name(struct rig *rig);
#include "cases.h"
#undef CASE

PAYLOAD(pio)
PAYLOAD(string_out)
PAYLOAD(string_in)
PAYLOAD(mmio)
PAYLOAD(mmio_rmw)
PAYLOAD(mmio_string)
PAYLOAD(mmio_vector)
PAYLOAD(split)
PAYLOAD(rom)
PAYLOAD(msr)
PAYLOAD(msr_unknown)
PAYLOAD(msr_engine)
PAYLOAD(hypercall)
PAYLOAD(signal_event)
PAYLOAD(cpuid)
PAYLOAD(doorbell)
PAYLOAD(dirty)

bool case_pio_of_all_sizes(struct rig *rig)
{
	TRY(rig_start(rig, 0, pio));
	TRY(rig_pio_write(rig, 0x80, 1, 0x11));
	TRY(rig_pio_write(rig, 0x80, 2, 0x2233));
	TRY(rig_pio_write(rig, 0x80, 4, 0x44556677));
	TRY(rig_pio_write(rig, 0x1234, 1, 0x88));
	TRY(rig_pio_read(rig, 0x81, 1, 0xffffffa1));
	TRY(rig_pio_read(rig, 0x81, 2, 0xffffb2b3));
	TRY(rig_pio_read(rig, 0x81, 4, 0xc4c5c6c7));
	TRY(rig_pio_read(rig, 0xfffe, 2, 0xd8d9));
	TRY(rig_done(rig));
	TRY(EXPECT_EQ(rig, "in al", rig_u64(rig, DATA_AT), 0xffffffffffffffa1));
	TRY(EXPECT_EQ(rig, "in ax", rig_u64(rig, DATA_AT + 8), 0xffffffffffffb2b3));
	TRY(EXPECT_EQ(rig, "in eax", rig_u64(rig, DATA_AT + 16), 0xc4c5c6c7));
	return EXPECT_EQ(rig, "in dx, ax", rig_u64(rig, DATA_AT + 24), 0xffffffffffffd8d9);
}

bool case_string_output_comes_one_element_at_a_time(struct rig *rig)
{
	TRY(rig_start(rig, 0, string_out));
	for (unsigned int i = 0; i < 300; i++)
		rig->memory.base[DATA_AT + i] = (uint8_t)(i * 7 + 1);
	for (unsigned int i = 0; i < 300; i++)
		TRY(rig_pio_write(rig, 0x3f8, 1, (uint8_t)(i * 7 + 1)));
	for (gpa_t at = DATA_AT + 8; at >= DATA_AT; at -= 4)
		TRY(rig_pio_write(rig, 0x3f8, 4, rig_u32(rig, at)));
	TRY(rig_pio_write(rig, 0x3f8, 2, rig_u32(rig, DATA_AT + 2) & 0xffff));
	TRY(rig_done(rig));
	TRY(EXPECT_EQ(rig, "ecx after", rig_u32(rig, DATA_AT + 0x1000), 0));
	TRY(EXPECT_EQ(rig, "esi after", rig_u32(rig, DATA_AT + 0x1004), 300));
	return EXPECT_EQ(rig, "esi after going down", rig_u32(rig, DATA_AT + 0x1008), -4u);
}

bool case_string_input_fills_memory_across_a_page(struct rig *rig)
{
	TRY(rig_start(rig, 0, string_in));
	for (unsigned int i = 0; i < 5; i++)
		TRY(rig_pio_read(rig, 0x3f8, 2, 0xa100 + i));
	TRY(rig_pio_read(rig, 0x3f8, 4, 0x12345678));
	TRY(rig_done(rig));
	for (unsigned int i = 0; i < 5; i++)
		TRY(EXPECT_EQ(rig, "word read", rig_u32(rig, DATA_AT + 0xffd + 2 * i) & 0xffff,
			      0xa100 + i));
	TRY(EXPECT_EQ(rig, "ecx after", rig_u32(rig, DATA_AT + 0x10), 0));
	TRY(EXPECT_EQ(rig, "edi after", rig_u32(rig, DATA_AT + 0x14), 0xffd + 10));
	return EXPECT_EQ(rig, "insl", rig_u32(rig, DATA_AT), 0x12345678);
}

bool case_mmio_of_all_sizes(struct rig *rig)
{
	TRY(rig_start(rig, 0, mmio));
	TRY(rig_mmio_write(rig, MMIO_AT + 0x10, 1, 0x88));
	TRY(rig_mmio_write(rig, MMIO_AT + 0x20, 2, 0x7788));
	TRY(rig_mmio_write(rig, MMIO_AT + 0x30, 4, 0x55667788));
	TRY(rig_mmio_write(rig, MMIO_AT + 0x40, 8, 0x1122334455667788));
	TRY(rig_mmio_write(rig, MMIO_AT + 0x50, 4, 0x5a5a5a5a));
	TRY(rig_mmio_read(rig, MMIO_AT + 0x18, 1, 0xa1));
	TRY(rig_mmio_read(rig, MMIO_AT + 0x28, 2, 0xb2b3));
	TRY(rig_mmio_read(rig, MMIO_AT + 0x38, 4, 0xc4c5c6c7));
	TRY(rig_mmio_read(rig, MMIO_AT + 0x48, 8, 0x99aabbccddeeff00));
	TRY(rig_mmio_read(rig, MMIO_AT + 0x58, 1, 0xfe));
	TRY(rig_mmio_read(rig, MMIO_AT + 0x59, 1, 0xfd));
	TRY(rig_done(rig));
	TRY(EXPECT_EQ(rig, "mov al", rig_u64(rig, DATA_AT), 0xffffffffffffffa1));
	TRY(EXPECT_EQ(rig, "mov ax", rig_u64(rig, DATA_AT + 8), 0xffffffffffffb2b3));
	TRY(EXPECT_EQ(rig, "mov eax", rig_u64(rig, DATA_AT + 16), 0xc4c5c6c7));
	TRY(EXPECT_EQ(rig, "mov rax", rig_u64(rig, DATA_AT + 24), 0x99aabbccddeeff00));
	TRY(EXPECT_EQ(rig, "movzx", rig_u64(rig, DATA_AT + 32), 0xfe));
	return EXPECT_EQ(rig, "movsx", rig_u64(rig, DATA_AT + 40), 0xfffffffffffffffd);
}

bool case_mmio_read_modify_write(struct rig *rig)
{
	TRY(rig_start(rig, 0, mmio_rmw));
	TRY(rig_mmio_read(rig, MMIO_AT, 4, 10));
	TRY(rig_mmio_write(rig, MMIO_AT, 4, 15));
	TRY(rig_mmio_read(rig, MMIO_AT + 4, 1, 0x01));
	TRY(rig_mmio_write(rig, MMIO_AT + 4, 1, 0x81));
	TRY(rig_mmio_read(rig, MMIO_AT + 8, 4, 0xabcd));
	TRY(rig_mmio_write(rig, MMIO_AT + 8, 4, 0x1234));
	TRY(rig_mmio_read(rig, MMIO_AT + 12, 4, 7));
	TRY(rig_mmio_read(rig, MMIO_AT + 16, 2, 0xffff));
	TRY(rig_mmio_write(rig, MMIO_AT + 16, 2, 0));
	TRY(rig_done(rig));
	TRY(EXPECT_EQ(rig, "exchanged", rig_u32(rig, DATA_AT), 0xabcd));
	return EXPECT_EQ(rig, "compared equal", rig_u32(rig, DATA_AT + 4), 1);
}

bool case_mmio_string_instructions(struct rig *rig)
{
	TRY(rig_start(rig, 0, mmio_string));
	for (unsigned int i = 0; i < 3; i++)
		*(uint32_t *)(rig->memory.base + DATA_AT + 4 * i) = 0x100 + i;
	for (unsigned int i = 0; i < 3; i++)
		TRY(rig_mmio_write(rig, MMIO_AT + 4 * i, 4, 0x100 + i));
	TRY(rig_mmio_read(rig, MMIO_AT + 0x100, 8, 0x1111));
	TRY(rig_mmio_read(rig, MMIO_AT + 0x108, 8, 0x2222));
	TRY(rig_mmio_write(rig, MMIO_AT + 0x200, 1, 0x77));
	TRY(rig_mmio_write(rig, MMIO_AT + 0x201, 1, 0x77));
	TRY(rig_done(rig));
	TRY(EXPECT_EQ(rig, "first read", rig_u64(rig, DATA_AT + 0x100), 0x1111));
	return EXPECT_EQ(rig, "second read", rig_u64(rig, DATA_AT + 0x108), 0x2222);
}

bool case_mmio_of_16_bytes_comes_in_pieces(struct rig *rig)
{
	TRY(rig_start(rig, 0, mmio_vector));
	rig_put_u64(rig, DATA_AT, 0x1111111122222222);
	rig_put_u64(rig, DATA_AT + 8, 0x3333333344444444);
	TRY(rig_mmio_write(rig, MMIO_AT, 8, 0x1111111122222222));
	TRY(rig_mmio_write(rig, MMIO_AT + 8, 8, 0x3333333344444444));
	TRY(rig_mmio_read(rig, MMIO_AT + 0x20, 8, 0x5555));
	TRY(rig_mmio_read(rig, MMIO_AT + 0x28, 8, 0x6666));
	TRY(rig_done(rig));
	TRY(EXPECT_EQ(rig, "low half", rig_u64(rig, DATA_AT + 0x10), 0x5555));
	return EXPECT_EQ(rig, "high half", rig_u64(rig, DATA_AT + 0x18), 0x6666);
}

bool case_accesses_across_pages_are_split(struct rig *rig)
{
	TRY(rig_start(rig, 0, split));
	TRY(rig_mmio_write(rig, MMIO_AT, 4, 0x11223344));
	TRY(rig_mmio_read(rig, MMIO_AT, 4, 0xaabbccdd));
	TRY(rig_done(rig));
	TRY(EXPECT_EQ(rig, "qword across pages", rig_u64(rig, DATA_AT), 0x1122334455667788));
	TRY(EXPECT_EQ(rig, "sum across pages", rig_u64(rig, DATA_AT + 8), 0x44556678));
	TRY(EXPECT_EQ(rig, "first page", rig_u32(rig, SPLIT_LOW + 0xffc), 0x66788800));
	TRY(EXPECT_EQ(rig, "second page", rig_u32(rig, SPLIT_HIGH), 0x22334455));
	TRY(EXPECT_EQ(rig, "across RAM and nothing", rig_u64(rig, DATA_AT + 16),
		      0xaabbccdd55667788));
	return EXPECT_EQ(rig, "RAM part", rig_u32(rig, SPLIT_HIGH + 0xffc), 0x55667788);
}

bool case_unanswered_reads_are_all_ones(struct rig *rig)
{
	TRY(rig_start(rig, 0, pio));
	for (unsigned int i = 0; i < 8; i++)
		TRY(rig_expect_reason(rig, 0, VP_EXIT_PIO));
	TRY(rig_done(rig));
	TRY(EXPECT_EQ(rig, "in eax", rig_u64(rig, DATA_AT + 16), 0xffffffff));
	TRY(EXPECT_EQ(rig, "in dx, ax", rig_u64(rig, DATA_AT + 24), 0xffffffffffffffff));
	TRY(rig_start(rig, 0, mmio));
	for (unsigned int i = 0; i < 11; i++)
		TRY(rig_expect_reason(rig, 0, VP_EXIT_MMIO));
	TRY(rig_done(rig));
	return EXPECT_EQ(rig, "mov rax", rig_u64(rig, DATA_AT + 24), ~0ull);
}

bool case_writes_to_read_only_memory_exit(struct rig *rig)
{
	struct guest_memory rom;

	TRY(rig_ok(rig, "guest_memory_new", guest_memory_new(PAGE_BYTES, &rom)));
	rom.base[8] = 0x42;
	TRY(rig_ok(rig, "partition_map_gpa",
		   partition_map_gpa(rig->part, EXTRA_AT, PAGE_BYTES, rom.base,
				     MAP_GPA_READ | MAP_GPA_EXECUTE)));
	TRY(EXPECT_EQ(rig, "mapping over it",
		      partition_map_gpa(rig->part, EXTRA_AT, PAGE_BYTES, rom.base, MAP_GPA_READ),
		      (uint64_t)-EEXIST));
	TRY(rig_start(rig, 0, rom));
	TRY(rig_report(rig, 0x42));
	TRY(rig_mmio_write(rig, EXTRA_AT + 8, 4, 0x12345678));
	TRY(rig_report(rig, 0x42));
	return rig_done(rig);
}

bool case_msr_exits_answer_and_fault(struct rig *rig)
{
	TRY(rig_start(rig, 0, msr));
	TRY(rig_msr(rig, 0x40000020, false));
	rig->exit[0].msr.data = 0x1122334455667788;
	TRY(rig_msr(rig, 0x40000000, true));
	TRY(EXPECT_EQ(rig, "value written", rig->exit[0].msr.data, 0x0123456789abcdef));
	TRY(rig_msr(rig, 0x40000001, false));
	rig->exit[0].msr.fault = true;
	TRY(rig_msr(rig, 0x40000002, true));
	rig->exit[0].msr.fault = true;
	TRY(rig_done(rig));
	TRY(EXPECT_EQ(rig, "eax read", rig_u64(rig, DATA_AT), 0x55667788));
	TRY(EXPECT_EQ(rig, "edx read", rig_u64(rig, DATA_AT + 8), 0x11223344));
	TRY(EXPECT_EQ(rig, "exceptions", rig_u64(rig, FAULT_COUNT), 2));
	TRY(rig_fault(rig, 0, 13, 0, rig_u64(rig, EXPECT_RIPS)));
	return rig_fault(rig, 1, 13, 0, rig_u64(rig, EXPECT_RIPS + 8));
}

bool case_unknown_msrs_exit(struct rig *rig)
{
	TRY(rig_start(rig, 0, msr_unknown));
	TRY(rig_msr(rig, 0x12345678, false));
	rig->exit[0].msr.data = 0x77;
	TRY(rig_report(rig, 0x77));
	TRY(rig_msr(rig, 0x12345679, true));
	TRY(EXPECT_EQ(rig, "value written", rig->exit[0].msr.data, 0x2200000011));
	TRY(rig_msr(rig, 0x1234567a, false));
	rig->exit[0].msr.fault = true;
	TRY(rig_done(rig));
	return rig_fault(rig, 0, 13, 0, rig_u64(rig, EXPECT_RIPS));
}

bool case_engine_msrs_do_not_exit(struct rig *rig)
{
	struct vp_state state;

	TRY(rig_start(rig, 0, msr_engine));
	TRY(rig_report(rig, 0x55667788));
	TRY(rig_report(rig, 0xffff8122));
	TRY(rig_done(rig));
	TRY(rig_ok(rig, "vp_get_state", vp_get_state(rig->vp[0], &state)));
	return EXPECT_EQ(rig, "LSTAR", state.lstar, 0xffff812255667788);
}

bool case_hypercall_has_registers_both_ways(struct rig *rig)
{
	uint8_t code[PARTITION_HYPERCALL_CODE_BYTES];
	size_t bytes = partition_write_hypercall_code(rig->part, true, code, NULL);
	struct vp_regs regs;

	memcpy(rig->memory.base + HYPERCALL_AT, code, bytes);
	TRY(rig_start(rig, 0, hypercall));
	TRY(rig_expect_reason(rig, 0, VP_EXIT_HYPERCALL));
	TRY(rig_ok(rig, "vp_get_regs", vp_get_regs(rig->vp[0], &regs)));
	TRY(EXPECT_EQ(rig, "rax", regs.gpr[VP_RAX], 0x7777));
	TRY(EXPECT_EQ(rig, "rcx", regs.gpr[VP_RCX], 0x1111111122222222));
	TRY(EXPECT_EQ(rig, "rdx", regs.gpr[VP_RDX], 0x3333333344444444));
	TRY(EXPECT_EQ(rig, "r8", regs.gpr[VP_R8], 0x5555555566666666));
	regs.gpr[VP_RAX] = 0xabcdef0123456789;
	regs.gpr[VP_R8]++;
	TRY(rig_ok(rig, "vp_set_regs", vp_set_regs(rig->vp[0], &regs)));
	TRY(rig_done(rig));
	TRY(EXPECT_EQ(rig, "rax after", rig_u64(rig, DATA_AT), 0xabcdef0123456789));
	TRY(EXPECT_EQ(rig, "rcx after", rig_u64(rig, DATA_AT + 8), 0x1111111122222222));
	TRY(EXPECT_EQ(rig, "rdx after", rig_u64(rig, DATA_AT + 16), 0x3333333344444444));
	return EXPECT_EQ(rig, "r8 after", rig_u64(rig, DATA_AT + 24), 0x5555555566666667);
}

bool case_cpuid_follows_the_policy(struct rig *rig)
{
	TRY(rig_start(rig, 0, cpuid));
	TRY(rig_report(rig, 0x40000001));
	TRY(rig_report(rig, 0x11111111));
	TRY(rig_report(rig, 0x22222222));
	TRY(rig_report(rig, 0x33333333));
	TRY(rig_report(rig, 0)); /* APIC id */
	TRY(rig_report(rig, 0)); /* OSXSAVE before and after CR4 is changed */
	TRY(rig_report(rig, 1));
	TRY(rig_report(rig, 0)); /* a leaf nobody listed */
	return rig_done(rig);
}

static bool rings(struct rig *rig, const char *what, int fd, uint64_t expected)
{
	uint64_t count = 0;

	if (read(fd, &count, sizeof(count)) < 0)
		count = 0;
	return EXPECT_EQ(rig, what, count, expected);
}

bool case_doorbells_signal_without_an_exit(struct rig *rig)
{
	int fd[3];
	struct doorbell bells[] = {
		{.space = DOORBELL_PIO,
		 .address = 0x700,
		 .bytes = 2,
		 .match = true,
		 .value = 0x1234},
		{.space = DOORBELL_MMIO,
		 .address = MMIO_AT + 0x10,
		 .bytes = 4,
		 .match = true,
		 .value = 0xcafe},
		{.space = DOORBELL_MMIO, .address = MMIO_AT + 0x20},
	};

	for (unsigned int i = 0; i < 3; i++) {
		fd[i] = bells[i].eventfd = eventfd(0, EFD_NONBLOCK | EFD_CLOEXEC);
		TRY(rig_ok(rig, "partition_add_doorbell",
			   partition_add_doorbell(rig->part, &bells[i])));
	}
	TRY(EXPECT_EQ(rig, "adding one twice", partition_add_doorbell(rig->part, &bells[0]),
		      (uint64_t)-EEXIST));
	TRY(rig_start(rig, 0, doorbell));
	TRY(rig_pio_write(rig, 0x700, 2, 0x1235));
	TRY(rig_mmio_write(rig, MMIO_AT + 0x10, 4, 0xcaff));
	/* both writes of the any-size bell go by, and the port's rings again */
	TRY(rig_pio_read(rig, 0x700, 2, 0));
	TRY(rig_done(rig));
	TRY(rings(rig, "rings of the port", fd[0], 2));
	TRY(rings(rig, "rings of the address", fd[1], 1));
	TRY(rings(rig, "rings of any size", fd[2], 2));

	TRY(rig_ok(rig, "partition_remove_doorbell",
		   partition_remove_doorbell(rig->part, &bells[0])));
	TRY(rig_start(rig, 0, doorbell));
	return rig_pio_write(rig, 0x700, 2, 0x1234);
}

bool case_hypercall_code_signals_events_by_doorbell(struct rig *rig)
{
	struct doorbell bell = {.space = DOORBELL_PIO,
				.address = PORT_SIGNAL,
				.bytes = 4,
				.match = true,
				.value = 7,
				.eventfd = eventfd(0, EFD_NONBLOCK | EFD_CLOEXEC)};
	uint8_t code[PARTITION_HYPERCALL_CODE_BYTES];
	size_t out_at, bytes = partition_write_hypercall_code(rig->part, true, code, &out_at);
	struct vp_regs regs;

	memcpy(rig->memory.base + HYPERCALL_AT, code, bytes);
	TRY(rig_ok(rig, "partition_add_doorbell", partition_add_doorbell(rig->part, &bell)));
	TRY(rig_start(rig, 0, signal_event));
	TRY(rig_pio_write(rig, PORT_SIGNAL, 4, 8));
	TRY(rig_expect_reason(rig, 0, VP_EXIT_HYPERCALL));
	TRY(rig_ok(rig, "vp_get_regs", vp_get_regs(rig->vp[0], &regs)));
	TRY(EXPECT_EQ(rig, "rdx of the slow call", regs.gpr[VP_RDX], 0x100000007));
	/* at the instruction, or behind it */
	TRY(EXPECT_EQ(rig, "rip", (regs.rip - HYPERCALL_AT - out_at) & ~2ull, 0));
	TRY(rig_done(rig));
	TRY(rings(rig, "rings", bell.eventfd, 1));
	close(bell.eventfd);
	TRY(EXPECT_EQ(rig, "result of the doorbell", rig_u64(rig, DATA_AT), 0));
	TRY(EXPECT_EQ(rig, "rdx after", rig_u64(rig, DATA_AT + 8), 7));
	return EXPECT_EQ(rig, "rcx after", rig_u64(rig, DATA_AT + 16), 0x1005d);
}

bool case_dirty_log_names_written_pages_once(struct rig *rig)
{
	struct guest_memory memory;
	uint64_t bytes = MIB, bitmap[4];

	TRY(rig_ok(rig, "guest_memory_new", guest_memory_new(bytes, &memory)));
	TRY(rig_ok(rig, "partition_map_gpa",
		   partition_map_gpa(rig->part, EXTRA_AT, bytes, memory.base,
				     MAP_GPA_READ | MAP_GPA_WRITE | MAP_GPA_DIRTY)));
	if (partition_get_dirty(rig->part, EXTRA_AT, bytes, bitmap) == -ENOTSUP)
		return rig_skip(rig, "this engine has no dirty log");
	TRY(EXPECT_EQ(rig, "log of part of a mapping",
		      partition_get_dirty(rig->part, EXTRA_AT, PAGE_BYTES, bitmap),
		      (uint64_t)-ENOENT));
	TRY(EXPECT_EQ(rig, "log of a mapping without one",
		      partition_get_dirty(rig->part, 0, RAM_BYTES, bitmap), (uint64_t)-ENOENT));
	TRY(rig_start(rig, 0, dirty));
	TRY(rig_pio_read(rig, 0x81, 1, 1));
	for (unsigned int round = 0; round < 3; round++) {
		TRY(rig_pio_read(rig, 0x81, 1, 1)); /* once through the writes */
		TRY(rig_ok(rig, "partition_get_dirty",
			   partition_get_dirty(rig->part, EXTRA_AT, bytes, bitmap)));
		/* page 32 was only read: an engine may name it the first time */
		TRY(EXPECT_EQ(rig, "pages 0 to 63", round ? bitmap[0] : bitmap[0] & ~BIT(32),
			      0x61));
		TRY(EXPECT_EQ(rig, "pages 64 to 127", bitmap[1], BIT(100 - 64)));
		TRY(EXPECT_EQ(rig, "other pages", bitmap[2] | bitmap[3], 0));
		TRY(rig_ok(rig, "partition_get_dirty",
			   partition_get_dirty(rig->part, EXTRA_AT, bytes, bitmap)));
		TRY(EXPECT_EQ(rig, "pages the second time",
			      bitmap[0] | bitmap[1] | bitmap[2] | bitmap[3], 0));
	}
	return true;
}
