/*
 * storvsp_fixture.h - a controller with one disk at LUN 0, on a bus of the fixture
 */
#ifndef VSP_STORVSP_STORVSP_FIXTURE_H
#define VSP_STORVSP_STORVSP_FIXTURE_H

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "fixture.h"

struct storvsp_fixture {
	struct vmbus bus;
	struct disk disk;
	struct storvsp *storvsp;
	bool full;
	unsigned int full_calls;
	const char *full_path;
	uint8_t data[64 * KIB]; /* the guest's memory */
};

int storvsp_fixture_begin(void **state); /* cmocka setup and teardown */
int storvsp_fixture_end(void **state);
/* Another controller, with the disk unless it is an IDE one. */
void storvsp_fixture_restart(struct storvsp_fixture *fixture, enum storvsp_kind kind,
			     unsigned int number);

struct vmbus_channel *storvsp_primary(struct storvsp_fixture *fixture);
/* Open the primary channel and run the initialization; it must succeed. */
void storvsp_fixture_connect(struct storvsp_fixture *fixture, uint16_t version);
/* The initialization alone. */
void storvsp_fixture_initialize(struct storvsp_fixture *fixture, uint16_t version);

/* Send a packet without data, and take the reply. Returns its status. */
uint32_t storvsp_ask(struct storvsp_fixture *fixture, const struct storvsc_packet *packet,
		     struct storvsc_packet *ret_reply);
uint32_t storvsp_ask_operation(struct storvsp_fixture *fixture, uint32_t operation);

struct storvsc_packet storvsp_srb(unsigned int lun, const uint8_t *cdb, unsigned int cdb_bytes,
				  uint8_t direction, uint32_t bytes);
/* READ(10), WRITE(10) of the first blocks, without a signal */
void storvsp_put_read(struct storvsp_fixture *fixture, unsigned int lun, uint64_t transaction_id,
		      unsigned int blocks);
void storvsp_put_write(struct storvsp_fixture *fixture, unsigned int lun, uint64_t transaction_id,
		       unsigned int blocks);

/* The next packet of the host is this completion. */
void storvsp_expect_reply(struct storvsp_fixture *fixture, uint64_t transaction_id,
			  struct storvsc_packet *ret_reply);
/* The next packet of the host is ENUMERATE_BUS of @bytes; 0: there is none. */
void storvsp_expect_enumerate(struct storvsp_fixture *fixture, uint32_t bytes);

#endif
