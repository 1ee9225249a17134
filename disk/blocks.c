/*
 * blocks.c - the block table in memory
 *
 * Chunks of 1024 entries; one is kept only if a block in it is present, so that the table of an
 * empty image of 64 TiB takes some KiB. A format reads its table from the file when the image is
 * opened, and checks every entry: vhd_table.c, vhdx_table.c.
 */
#include "blocks.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

static size_t chunk_count(const struct blocks *blocks)
{
	return ((size_t)blocks->block_count + CHUNK_BLOCKS - 1) / CHUNK_BLOCKS;
}

int blocks_init(struct blocks *blocks, uint32_t count)
{
	blocks->block_count = count;
	blocks->chunks = calloc(MAX(chunk_count(blocks), 1u), sizeof(*blocks->chunks));
	return blocks->chunks ? 0 : -ENOMEM;
}

void blocks_free(struct blocks *blocks)
{
	for (size_t i = 0; blocks->chunks && i < chunk_count(blocks); i++)
		free(blocks->chunks[i]);
	free(blocks->chunks);
}

void table_set_full(struct blocks *blocks, uint32_t block)
{
	uint32_t at = block % CHUNK_BLOCKS;

	blocks->chunks[block / CHUNK_BLOCKS]->full[at / 64] |= BIT(at % 64);
}

int table_reserve(struct blocks *blocks, uint32_t block)
{
	struct block_chunk **chunk = &blocks->chunks[block / CHUNK_BLOCKS];

	if (*chunk)
		return 0;
	*chunk = calloc(1, sizeof(**chunk));
	if (!*chunk)
		return -ENOMEM;
	memset((*chunk)->places, 0xff, sizeof((*chunk)->places));
	return 0;
}

void table_set(struct blocks *blocks, uint32_t block, uint32_t place)
{
	blocks->chunks[block / CHUNK_BLOCKS]->places[block % CHUNK_BLOCKS] = place;
}

uint32_t table_next_present(const struct blocks *blocks, uint32_t block)
{
	while (block < blocks->block_count && table_get(blocks, block) == BLOCK_ABSENT) {
		if (blocks->chunks[block / CHUNK_BLOCKS])
			block++;
		else
			block = ALIGN_UP(block + 1, CHUNK_BLOCKS);
	}
	return MIN(block, blocks->block_count);
}
