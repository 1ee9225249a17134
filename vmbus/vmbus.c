/*
 * vmbus.c - the functions of the contract, which offer nothing yet
 */
#include "vmbus.h"
#include <errno.h>
#include <stdlib.h>
struct vmbus {
	int unused;
};
int vmbus_new(const struct vmbus_config *config, struct vmbus **ret_bus)
{
	return (*ret_bus = calloc(1, sizeof(**ret_bus))) ? 0 : -ENOMEM;
}
void vmbus_set_hv(struct vmbus *bus, struct hv *hv)
{
}
void vmbus_free(struct vmbus *bus)
{
	free(bus);
}
void vmbus_reset(struct vmbus *bus, void (*done)(void *ctx), void *ctx)
{
	done(ctx);
}
uint16_t vmbus_post_message(struct vmbus *bus, uint32_t connection_id, const void *payload,
			    uint32_t bytes)
{
	return 0x12;
}
uint16_t vmbus_signal_event(struct vmbus *bus, uint32_t connection_id, uint16_t flag)
{
	return 0x12;
}
void vmbus_synic_ready(struct vmbus *bus)
{
}
void vmbus_set_doorbell_events(struct vmbus *bus, const struct vmbus_doorbell_events *events)
{
}
int vmbus_offer(struct vmbus *bus, const struct vmbus_offer *offer,
		struct vmbus_channel **ret_channel)
{
	return -ENOSPC;
}
void vmbus_rescind(struct vmbus_channel *channel, void (*done)(void *ctx), void *ctx)
{
}
int vmbus_offer_subchannels(struct vmbus_channel *primary, unsigned int count,
			    struct loop *const *loops)
{
	return -EINVAL;
}
void *vmbus_channel_provider(const struct vmbus_channel *channel)
{
	return NULL;
}
void vmbus_channel_set_context(struct vmbus_channel *channel, void *context)
{
}
void *vmbus_channel_context(const struct vmbus_channel *channel)
{
	return NULL;
}
unsigned int vmbus_channel_index(const struct vmbus_channel *channel)
{
	return 0;
}
uint32_t vmbus_channel_version(const struct vmbus_channel *channel)
{
	return 0;
}
struct loop *vmbus_channel_loop(const struct vmbus_channel *channel)
{
	return NULL;
}
void vmbus_channel_closed(struct vmbus_channel *channel)
{
}
int vmbus_read(struct vmbus_channel *channel, struct vmbus_packet *ret_packet)
{
	return -EPROTO;
}
int vmbus_packet_iovec(struct vmbus_channel *channel, const struct vmbus_packet *packet,
		       uint32_t index, struct iovec *iov, size_t max, uint32_t *ret_bytes)
{
	return -EINVAL;
}
void vmbus_iovec_written(struct vmbus_channel *channel, const struct iovec *iov, int count)
{
}
int vmbus_write(struct vmbus_channel *channel, const struct vmbus_out *out)
{
	return -EPROTO;
}
int vmbus_complete(struct vmbus_channel *channel, uint64_t transaction_id, const void *payload,
		   uint32_t bytes)
{
	return -EPROTO;
}
void vmbus_flush(struct vmbus_channel *channel)
{
}
void vmbus_get_status(const struct vmbus *bus, struct vmbus_status *ret_status)
{
	*ret_status = (struct vmbus_status){};
}
