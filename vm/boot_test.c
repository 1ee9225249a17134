/*
 * boot_test.c - the loaders against images made here, whole and damaged in every way we know
 */
#include <elf.h>
#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "boot.h"
#include "bzimage.h"
#include "multiboot.h"
#include "pvh.h"

#define MEMORY	    (64 * MIB)
#define IMAGE_BYTES (64 * KIB)
#define CODE_BYTE   0x90

struct fixture {
	struct guest_memory memory;
	struct boot_request request;
	struct vp_state state;
	struct vm_error error;
	uint8_t image[IMAGE_BYTES] __attribute__((aligned(16)));
	struct boot_file initrds[3];
};

static struct fixture *fixture_new(uint64_t count)
{
	struct fixture *f = aligned_alloc(16, sizeof(*f));

	memset(f, 0, sizeof(*f));
	f->memory = (struct guest_memory){.fd = -1, .base = calloc(1, MEMORY), .bytes = MEMORY};
	f->request = (struct boot_request){
		.memory = &f->memory,
		.layout = layout_of(MEMORY),
		.kernel = {"kernel", f->image, count},
		.initrds = f->initrds,
		.command_line = "console=ttyS0",
		.rsdp = 0xe0000,
	};
	return f;
}

static void fixture_free(struct fixture *f)
{
	free(f->memory.base);
	free(f);
}

static int load(struct fixture *f)
{
	return boot_load(&f->request, &f->state, &f->error);
}

static void *guest(struct fixture *f, gpa_t gpa)
{
	assert_true(gpa < MEMORY);
	return f->memory.base + gpa;
}

static void add_initrd(struct fixture *f, const char *text, uint64_t count)
{
	f->initrds[f->request.initrd_count++] =
		(struct boot_file){"module", (const uint8_t *)text, count};
}

/* --- images --- */

#define LINUX_SETUP_BYTES 1024u
#define LINUX_LOAD	  (16 * MIB)

static struct setup_header *linux_header(struct fixture *f)
{
	return (void *)(f->image + BZIMAGE_HEADER_AT);
}

static struct fixture *linux_image(void)
{
	struct fixture *f = fixture_new(32 * KIB);
	struct setup_header *header = linux_header(f);

	memset(f->image, CODE_BYTE, 32 * KIB);
	*header = (struct setup_header){
		.setup_sectors = 1,
		.syssize = (32 * KIB - LINUX_SETUP_BYTES) / 16,
		.boot_flag = BZIMAGE_BOOT_FLAG,
		.jump = {0xeb, 0x6a},
		.magic = BZIMAGE_MAGIC,
		.version = 0x20f,
		.loadflags = BZIMAGE_LOADED_HIGH,
		.xloadflags = BZIMAGE_KERNEL_64,
		.initrd_addr_max = 0x7fffffff,
		.cmdline_size = 2047,
		.preferred_address = LINUX_LOAD,
		.init_size = MIB,
	};
	return f;
}

static void put_note(uint8_t *at, uint32_t entry)
{
	const Elf64_Nhdr note = {.n_namesz = 4, .n_descsz = 4, .n_type = PVH_NOTE_PHYS32_ENTRY};

	memcpy(at, &note, sizeof(note));
	memcpy(at + sizeof(note), PVH_NOTE_NAME, 4);
	memcpy(at + sizeof(note) + 4, &entry, sizeof(entry));
}

#define ELF_LOAD    (2 * MIB)
#define ELF_VIRTUAL 0xffffffff80200000ull
#define ELF_CODE_AT 4096u

static Elf64_Ehdr *elf_header(struct fixture *f)
{
	return (void *)f->image;
}

static Elf64_Phdr *elf_segments(struct fixture *f)
{
	return (void *)(f->image + sizeof(Elf64_Ehdr));
}

/* Segment 0: code with a bss of a page; segment 1: the notes, a foreign one first. */
static struct fixture *pvh_image(void)
{
	struct fixture *f = fixture_new(16 * KIB);
	const Elf64_Nhdr foreign = {.n_namesz = 5, .n_descsz = 3, .n_type = 1};
	uint8_t *notes = f->image + 1024;

	*elf_header(f) = (Elf64_Ehdr){.e_type = ET_EXEC,
				      .e_machine = EM_X86_64,
				      .e_entry = ELF_VIRTUAL + 16,
				      .e_phoff = sizeof(Elf64_Ehdr),
				      .e_phentsize = sizeof(Elf64_Phdr),
				      .e_phnum = 2};
	memcpy(f->image, ELFMAG "\x02\x01\x01", 7);
	elf_segments(f)[0] = (Elf64_Phdr){.p_type = PT_LOAD,
					  .p_offset = ELF_CODE_AT,
					  .p_vaddr = ELF_VIRTUAL,
					  .p_paddr = ELF_LOAD,
					  .p_filesz = 8192,
					  .p_memsz = 12288};
	elf_segments(f)[1] = (Elf64_Phdr){.p_type = PT_NOTE, .p_offset = 1024, .p_filesz = 64};
	memcpy(notes, &foreign, sizeof(foreign));
	put_note(notes + sizeof(foreign) + 8 + 4, ELF_LOAD + 32);
	memset(f->image + ELF_CODE_AT, CODE_BYTE, 8192);
	return f;
}

static void put_multiboot_header(struct fixture *f, uint32_t at, uint32_t flags)
{
	const struct multiboot_header header = {
		.magic = MULTIBOOT_HEADER_MAGIC,
		.flags = flags,
		.checksum = -(MULTIBOOT_HEADER_MAGIC + flags),
		.header_address = ELF_LOAD + at,
		.load_address = ELF_LOAD,
		.load_end_address = ELF_LOAD + 8192,
		.bss_end_address = ELF_LOAD + 16384,
		.entry_address = ELF_LOAD + 64,
	};

	memcpy(f->image + at, &header, sizeof(header));
}

static struct multiboot_header *multiboot_header(struct fixture *f)
{
	return (void *)(f->image + 256);
}

static struct fixture *multiboot_flat_image(void)
{
	struct fixture *f = fixture_new(8192);

	memset(f->image, CODE_BYTE, 8192);
	put_multiboot_header(f, 256, MULTIBOOT_AOUT_KLUDGE | MULTIBOOT_PAGE_ALIGN);
	return f;
}

static struct fixture *multiboot_elf_image(void)
{
	struct fixture *f = pvh_image();

	elf_header(f)->e_phnum = 1;
	put_multiboot_header(f, 2048, MULTIBOOT_MEMORY_INFO);
	return f;
}

/* --- whole images --- */

static void linux_starts_at_its_64bit_entry_with_a_zero_page(void **state)
{
	struct fixture *f = linux_image();
	struct boot_params *params;

	add_initrd(f, "abcde", 5);
	add_initrd(f, "fg", 2);
	assert_int_equal(load(f), 0);
	assert_int_equal(f->state.regs.rip, LINUX_LOAD + 0x200);
	assert_true(f->state.cr0 & BIT(31));
	assert_int_equal(f->state.efer, 0x500);
	params = guest(f, f->state.regs.gpr[VP_RSI]);
	assert_int_equal(params->header.magic, BZIMAGE_MAGIC);
	assert_int_equal(params->header.type_of_loader, 0xff);
	assert_int_equal(params->acpi_rsdp_address, 0xe0000);
	assert_string_equal(guest(f, params->header.cmd_line_ptr), "console=ttyS0");
	assert_int_equal(params->header.ramdisk_size, 10);
	assert_memory_equal(guest(f, params->header.ramdisk_image), "abcde\0\0\0fg", 10);
	assert_int_equal(params->header.ramdisk_image, MEMORY - PAGE_BYTES);
	assert_int_equal(params->e820[0].bytes, 0xa0000);
	assert_int_equal(*(uint8_t *)guest(f, LINUX_LOAD + 31 * KIB - 1), CODE_BYTE);
	fixture_free(f);
}

/* The address that the boot page tables translate @va to; only large pages. */
static uint64_t walk(struct fixture *f, uint64_t va)
{
	uint64_t *table = guest(f, f->state.cr3);
	uint64_t entry = 0;

	for (int shift = 39; shift >= 21; shift -= 9) {
		entry = table[va >> shift & 511];
		assert_true(entry & 1);
		if (shift > 21)
			table = guest(f, entry & ~0xfffull);
	}
	assert_true(entry & BIT(7));
	return (entry & ~0x1fffffull) | (va & 0x1fffff);
}

static void linux_finds_the_low_4_gib_mapped_one_to_one(void **state)
{
	static const uint64_t addresses[] = {0, 0x7000, LINUX_LOAD + 0x200, 0xc0000000, 0xffffffff};
	struct fixture *f = linux_image();

	assert_int_equal(load(f), 0);
	for (size_t i = 0; i < ARRAY_SIZE(addresses); i++)
		assert_int_equal(walk(f, addresses[i]), addresses[i]);
	assert_int_equal(((uint64_t *)guest(f, f->state.gdtr.base))[2], 0x00af9b000000ffffull);
	assert_int_equal(((uint64_t *)guest(f, f->state.gdtr.base))[3], 0x00cf93000000ffffull);
	fixture_free(f);
}

static void an_initrd_stays_below_what_the_kernel_can_reach(void **state)
{
	struct fixture *f = linux_image();
	struct boot_params *params;

	linux_header(f)->initrd_addr_max = 32 * MIB - 1;
	add_initrd(f, "x", 1);
	assert_int_equal(load(f), 0);
	params = guest(f, f->state.regs.gpr[VP_RSI]);
	assert_int_equal(params->header.ramdisk_image, 32 * MIB - PAGE_BYTES);
	fixture_free(f);
}

static void pvh_starts_at_the_note_with_a_start_info(void **state)
{
	struct fixture *f = pvh_image();
	struct pvh_start_info *info;
	struct pvh_module *module;

	memset(guest(f, ELF_LOAD + 8192), 0xff, 4096);
	add_initrd(f, "initrd", 6);
	assert_int_equal(load(f), 0);
	assert_int_equal(f->state.regs.rip, ELF_LOAD + 32);
	assert_false(f->state.cr0 & BIT(31));
	info = guest(f, f->state.regs.gpr[VP_RBX]);
	assert_int_equal(info->magic, PVH_MAGIC);
	assert_int_equal(info->module_count, 1);
	module = guest(f, info->modules);
	assert_memory_equal(guest(f, module->address), "initrd", 6);
	assert_int_equal(module->bytes, 6);
	assert_string_equal(guest(f, info->command_line), "console=ttyS0");
	assert_int_equal(((struct pvh_memory_map_entry *)guest(f, info->memory_map))->type,
			 E820_RAM);
	assert_int_equal(*(uint8_t *)guest(f, ELF_LOAD + 8191), CODE_BYTE);
	assert_int_equal(*(uint8_t *)guest(f, ELF_LOAD + 8192), 0); /* bss */
	fixture_free(f);
}

static void check_multiboot(struct fixture *f, uint64_t entry)
{
	struct multiboot_info *info;
	struct multiboot_module *modules;
	struct multiboot_mmap_entry *map;

	add_initrd(f, "first", 5);
	add_initrd(f, "second", 6);
	assert_int_equal(load(f), 0);
	assert_int_equal(f->state.regs.rip, entry);
	assert_int_equal(f->state.regs.gpr[VP_RAX], 0x2badb002);
	info = guest(f, f->state.regs.gpr[VP_RBX]);
	assert_int_equal(info->mem_lower, 640);
	assert_int_equal(info->mem_upper, 63 * 1024);
	assert_string_equal(guest(f, info->cmdline), "console=ttyS0");
	assert_string_equal(guest(f, info->boot_loader_name), "Mullion");
	assert_int_equal(info->module_count, 2);
	modules = guest(f, info->modules);
	assert_memory_equal(guest(f, modules[1].start), "second", 6);
	assert_int_equal(modules[1].end - modules[1].start, 6);
	assert_string_equal(guest(f, modules[0].string), "module");
	assert_true(modules[0].start >= ELF_LOAD + 12288);
	map = guest(f, info->mmap);
	assert_int_equal(map[0].size, 20);
	assert_int_equal(map[0].bytes, 0xa0000);
	assert_int_equal(info->mmap_length % 24, 0);
}

static void multiboot_takes_flat_and_elf_images(void **state)
{
	struct fixture *f = multiboot_flat_image();

	memset(guest(f, ELF_LOAD + 8192), 0xff, 4096);
	check_multiboot(f, ELF_LOAD + 64);
	assert_int_equal(*(uint8_t *)guest(f, ELF_LOAD + 8191), CODE_BYTE);
	assert_int_equal(*(uint8_t *)guest(f, ELF_LOAD + 8192), 0);
	fixture_free(f);
	f = multiboot_elf_image();
	check_multiboot(f, ELF_LOAD + 16); /* from the virtual entry point */
	fixture_free(f);
}

/* --- damaged images --- */

#define LINUX(member, value)                                                                       \
	static void break_linux_##member(struct fixture *f)                                        \
	{                                                                                          \
		linux_header(f)->member = (value);                                                 \
	}
LINUX(version, 0x20b)
LINUX(loadflags, 0)
LINUX(xloadflags, 0)
LINUX(init_size, MEMORY)
LINUX(preferred_address, 0x8000)
LINUX(setup_sectors, 63)
LINUX(cmdline_size, 5)
LINUX(initrd_addr_max, 17 * MIB)

static void far_preferred_address(struct fixture *f)
{
	linux_header(f)->preferred_address = UINT64_MAX - 4096;
}
static void syssize_past_the_end(struct fixture *f)
{
	linux_header(f)->syssize++;
}
static void initrd_too_large(struct fixture *f)
{
	f->initrds[0].count = MEMORY;
}
static void initrds_that_overflow(struct fixture *f)
{
	f->initrds[0].count = UINT64_MAX - 2;
}
static void elf_machine(struct fixture *f)
{
	elf_header(f)->e_machine = EM_AARCH64;
}
static void elf_segments_outside(struct fixture *f)
{
	elf_header(f)->e_phoff = UINT64_MAX - 8;
}
static void elf_no_segments(struct fixture *f)
{
	elf_header(f)->e_phentsize = 0;
}
static void elf_offset_outside(struct fixture *f)
{
	elf_segments(f)[0].p_offset = UINT64_MAX - 100;
}
static void elf_file_larger_than_memory(struct fixture *f)
{
	elf_segments(f)[0].p_memsz = 100;
}
static void elf_into_the_boot_area(struct fixture *f)
{
	elf_segments(f)[0].p_paddr = 0x7000;
}
static void elf_into_the_rom(struct fixture *f)
{
	elf_segments(f)[0].p_paddr = 0x9f000;
}
static void elf_beyond_memory(struct fixture *f)
{
	elf_segments(f)[0].p_paddr = MEMORY - 4096;
}
static void elf_wraps_around(struct fixture *f)
{
	elf_segments(f)[0].p_memsz = UINT64_MAX - ELF_LOAD + 2;
}
static void elf_loads_nothing(struct fixture *f)
{
	elf_segments(f)[0].p_type = PT_NULL;
}
static void entry_note_outside(struct fixture *f)
{
	put_note(f->image + 1024, MEMORY);
}
static void note_sizes_that_overflow(struct fixture *f)
{
	const Elf64_Nhdr note = {.n_namesz = UINT32_MAX, .n_descsz = UINT32_MAX, .n_type = 18};

	memcpy(f->image + 1024, &note, sizeof(note));
}
static void multiboot_unknown_flag(struct fixture *f)
{
	put_multiboot_header(f, 256, MULTIBOOT_AOUT_KLUDGE | 0x8000);
}
static void multiboot_load_after_header(struct fixture *f)
{
	multiboot_header(f)->load_address = multiboot_header(f)->header_address + 4;
}
static void multiboot_starts_before_the_file(struct fixture *f)
{
	multiboot_header(f)->load_address -= 4;
}
static void multiboot_end_below_start(struct fixture *f)
{
	multiboot_header(f)->load_end_address = 4096;
}
static void multiboot_longer_than_the_file(struct fixture *f)
{
	multiboot_header(f)->load_end_address += 1;
}
static void multiboot_huge_bss(struct fixture *f)
{
	multiboot_header(f)->bss_end_address = UINT32_MAX;
}
static void multiboot_entry_outside(struct fixture *f)
{
	multiboot_header(f)->entry_address = MEMORY;
}
static void multiboot_flat_without_addresses(struct fixture *f)
{
	put_multiboot_header(f, 256, 0);
}

static const struct {
	struct fixture *(*image)(void);
	void (*damage)(struct fixture *f);
	int result;
	enum vm_blame blame;
	const char *text; /* part of the sentence */
} damages[] = {
	{linux_image, break_linux_version, -ENOTSUP, BLAME_KERNEL, "2.11"},
	{linux_image, break_linux_loadflags, -ENOTSUP, BLAME_KERNEL, "zImage"},
	{linux_image, break_linux_xloadflags, -ENOTSUP, BLAME_KERNEL, "32-bit"},
	{linux_image, break_linux_init_size, -ENOSPC, BLAME_MEMORY, "more memory"},
	{linux_image, break_linux_preferred_address, -ENOTSUP, BLAME_KERNEL, "0x8000"},
	{linux_image, far_preferred_address, -ENOSPC, BLAME_MEMORY, "beyond the end"},
	{linux_image, break_linux_setup_sectors, -ENOEXEC, BLAME_KERNEL, "truncated"},
	{linux_image, syssize_past_the_end, -ENOEXEC, BLAME_KERNEL, "truncated"},
	{linux_image, break_linux_cmdline_size, -ENOSPC, BLAME_COMMAND_LINE, "at most 5"},
	{linux_image, initrd_too_large, -ENOSPC, BLAME_INITRD, "do not fit"},
	{linux_image, initrds_that_overflow, -ENOSPC, BLAME_INITRD, "do not fit"},
	{linux_image, break_linux_initrd_addr_max, -ENOSPC, BLAME_INITRD, "do not fit"},
	{pvh_image, elf_machine, -ENOTSUP, BLAME_KERNEL, "another processor"},
	{pvh_image, elf_segments_outside, -ENOEXEC, BLAME_KERNEL, "truncated"},
	{pvh_image, elf_no_segments, -ENOEXEC, BLAME_KERNEL, "program headers"},
	{pvh_image, elf_offset_outside, -ENOEXEC, BLAME_KERNEL, "segment 0"},
	{pvh_image, elf_file_larger_than_memory, -ENOEXEC, BLAME_KERNEL, "damaged"},
	{pvh_image, elf_into_the_boot_area, -ENOTSUP, BLAME_KERNEL, "0x7000"},
	{pvh_image, elf_into_the_rom, -ENOTSUP, BLAME_KERNEL, "0x9f000"},
	{pvh_image, elf_beyond_memory, -ENOSPC, BLAME_MEMORY, "beyond the end"},
	{pvh_image, elf_wraps_around, -ENOSPC, BLAME_MEMORY, "beyond the end"},
	{pvh_image, elf_loads_nothing, -ENOEXEC, BLAME_KERNEL, "no ELF segment"},
	{pvh_image, entry_note_outside, -ENOEXEC, BLAME_KERNEL, "outside of memory"},
	{pvh_image, note_sizes_that_overflow, -ENOEXEC, BLAME_KERNEL, "neither a PVH note"},
	{multiboot_flat_image, multiboot_unknown_flag, -ENOTSUP, BLAME_KERNEL, "0x8000"},
	{multiboot_flat_image, multiboot_load_after_header, -ENOEXEC, BLAME_KERNEL, "addresses"},
	{multiboot_flat_image, multiboot_starts_before_the_file, -ENOEXEC, BLAME_KERNEL,
	 "addresses"},
	{multiboot_flat_image, multiboot_end_below_start, -ENOEXEC, BLAME_KERNEL, "addresses"},
	{multiboot_flat_image, multiboot_longer_than_the_file, -ENOEXEC, BLAME_KERNEL, "truncated"},
	{multiboot_flat_image, multiboot_huge_bss, -ENOSPC, BLAME_MEMORY, "beyond the end"},
	{multiboot_flat_image, multiboot_entry_outside, -ENOEXEC, BLAME_KERNEL, "entry point"},
	{multiboot_flat_image, multiboot_flat_without_addresses, -ENOEXEC, BLAME_KERNEL, "no ELF"},
	{multiboot_flat_image, initrd_too_large, -ENOSPC, BLAME_INITRD, "do not fit"},
};

static void damaged_images_are_refused_with_a_reason(void **state)
{
	for (size_t i = 0; i < ARRAY_SIZE(damages); i++) {
		struct fixture *f = damages[i].image();
		int r;

		add_initrd(f, "initrd", 6);
		damages[i].damage(f);
		if (f->initrds[0].count > 6 && f->initrds[0].count < MEMORY)
			fail_msg("the test would read past its initrd");
		r = load(f);
		if (r != damages[i].result || f->error.blame != damages[i].blame ||
		    !strstr(f->error.text, damages[i].text))
			fail_msg("case %zu: %d, blame %d, \"%s\"", i, r, f->error.blame,
				 f->error.text);
		assert_int_equal(f->state.regs.rip, 0);
		fixture_free(f);
	}
}

/* Cut off anywhere: a refusal, except where only what nobody asked for is missing. */
static void truncated_images_never_crash_and_always_have_a_reason(void **state)
{
	static struct fixture *(*const images[])(void) = {
		linux_image, pvh_image, multiboot_flat_image, multiboot_elf_image};

	for (size_t i = 0; i < ARRAY_SIZE(images); i++) {
		struct fixture *f = images[i]();
		uint64_t whole = f->request.kernel.count;

		for (uint64_t count = 0; count < whole; count += count < 1200 ? 1 : 509) {
			uint8_t *exact = malloc(count ?: 1);

			memcpy(exact, f->image, count);
			f->request.kernel = (struct boot_file){"kernel", exact, count};
			f->error.text[0] = 0;
			if (load(f) < 0)
				assert_true(strlen(f->error.text) > 10);
			else if (count < 12 * KIB)
				fail_msg("image %zu loads with %lu bytes", i, count);
			free(exact);
		}
		fixture_free(f);
	}
}

static void other_files_are_named_for_what_they_are(void **state)
{
	static const struct {
		const char *bytes;
		uint64_t count;
		const char *text;
	} cases[] = {
		{"", 0, "empty"},
		{"\x1f\x8b\x08", 3, "gzip"},
		{"hello", 5, "is not a kernel"},
		{"\x7f"
		 "ELF",
		 4, "is not a kernel"}, /* too short even for ELF's first part */
		{"#!/bin/sh\n", 10, "script"},
		{"070701xxxx", 10, "cpio"},
	};

	for (size_t i = 0; i < ARRAY_SIZE(cases); i++) {
		struct fixture *f = fixture_new(cases[i].count);

		memcpy(f->image, cases[i].bytes, cases[i].count);
		assert_int_equal(load(f), -ENOEXEC);
		if (i != 3 && !strstr(f->error.text, cases[i].text))
			fail_msg("case %zu: %s", i, f->error.text);
		fixture_free(f);
	}
}

static void ram_beyond_3_gib_lies_at_4_gib(void **state)
{
	struct layout layout = layout_of(5 * GIB);
	const struct guest_memory memory = {.base = (void *)0x100000000000, .bytes = 5 * GIB};
	struct e820_entry map[LAYOUT_E820_MAX];
	size_t count = layout_e820(&layout, map);

	assert_int_equal(layout.low_bytes, 3 * GIB);
	assert_int_equal(layout.high_bytes, 2 * GIB);
	assert_ptr_equal(layout_hva(&layout, &memory, 4 * GIB, 1), memory.base + 3 * GIB);
	assert_null(layout_hva(&layout, &memory, 3 * GIB - 1, 2));
	assert_null(layout_hva(&layout, &memory, 3 * GIB + 1, 1));
	assert_null(layout_hva(&layout, &memory, 6 * GIB, 1));
	assert_null(layout_hva(&layout, &memory, UINT64_MAX, 2));
	assert_non_null(layout_hva(&layout, &memory, 6 * GIB, 0));
	assert_int_equal(map[count - 1].address, 4 * GIB);
	assert_int_equal(map[count - 1].bytes, 2 * GIB);
	for (size_t i = 1; i < count; i++)
		assert_true(map[i - 1].address + map[i - 1].bytes <= map[i].address);
}

int main(void)
{
	static const struct CMUnitTest tests[] = {
		cmocka_unit_test(linux_starts_at_its_64bit_entry_with_a_zero_page),
		cmocka_unit_test(linux_finds_the_low_4_gib_mapped_one_to_one),
		cmocka_unit_test(an_initrd_stays_below_what_the_kernel_can_reach),
		cmocka_unit_test(pvh_starts_at_the_note_with_a_start_info),
		cmocka_unit_test(multiboot_takes_flat_and_elf_images),
		cmocka_unit_test(damaged_images_are_refused_with_a_reason),
		cmocka_unit_test(truncated_images_never_crash_and_always_have_a_reason),
		cmocka_unit_test(other_files_are_named_for_what_they_are),
		cmocka_unit_test(ram_beyond_3_gib_lies_at_4_gib),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
