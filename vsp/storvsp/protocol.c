/*
 * protocol.c - the storvsc protocol: initialization, SRBs, resets
 *
 * BEGIN -> VERSION -> PROPERTIES -> END -> READY, each left by the operation of its name; a version
 * that we do not have leaves the state as it is, and the guest tries the next. What comes out of
 * order is answered with an error and changes nothing. Closing the primary channel leads back to
 * BEGIN.
 *
 * Of an SRB the controller decides who is meant (path, target, LUN) and where its data is; the
 * unit does the rest. Version 6.2 is accepted because WRITE SAME is done right: its guests use it.
 */
#include "storvsp_internal.h"

#include <string.h>

#include "vmbus_protocol.h"

static void answer(struct storvsp_request *request, uint32_t status)
{
	request->packet.operation = STORVSC_COMPLETE_IO;
	request->packet.flags = 0;
	request->packet.status = status;
	storvsp_request_done(request);
}

/* --- initialization --- */

static void begin_initialization(struct storvsp_request *request)
{
	request->channel->storvsp->state = STORVSP_VERSION;
	answer(request, STORVSC_STATUS_SUCCESS);
}

static void query_protocol_version(struct storvsp_request *request)
{
	static const uint16_t versions[] = {
		STORVSC_VERSION_2_0, STORVSC_VERSION_4_2, STORVSC_VERSION_5_1,
		STORVSC_VERSION_6_0, STORVSC_VERSION_6_2,
	};
	struct storvsp *storvsp = request->channel->storvsp;
	uint16_t version = request->packet.version.version;

	for (size_t i = 0; i < ARRAY_SIZE(versions); i++) {
		if (version != versions[i])
			continue;
		storvsp->version = version;
		storvsp->state = STORVSP_PROPERTIES;
		answer(request, STORVSC_STATUS_SUCCESS);
		return;
	}
	answer(request, STORVSC_STATUS_REVISION_MISMATCH);
}

static unsigned int max_subchannels(const struct storvsp *storvsp)
{
	if (storvsp->config.kind == STORVSP_IDE || storvsp->version < STORVSC_VERSION_5_1)
		return 0;
	return MIN(storvsp->config.max_subchannels, 64u); /* what vmbus offers at once */
}

static void query_properties(struct storvsp_request *request)
{
	struct storvsp *storvsp = request->channel->storvsp;
	unsigned int subchannels = max_subchannels(storvsp);

	memset(request->packet.payload, 0, sizeof(request->packet.payload));
	request->packet.properties = (struct storvsc_channel_properties){
		.max_subchannels = (uint16_t)subchannels,
		.flags = subchannels ? STORVSC_PROPERTY_MULTI_CHANNEL : 0,
		.max_transfer_bytes = SCSI_MAX_TRANSFER_BYTES,
	};
	storvsp->state = STORVSP_END;
	answer(request, STORVSC_STATUS_SUCCESS);
}

static void end_initialization(struct storvsp_request *request)
{
	struct storvsp *storvsp = request->channel->storvsp;

	storvsp->state = STORVSP_READY;
	storvsp->enumerate = false;		  /* the guest looks for itself now */
	loop_post(storvsp->loop, &storvsp->turn); /* sub-channels may be read now */
	answer(request, STORVSC_STATUS_SUCCESS);
}

static void create_sub_channels(struct storvsp_request *request)
{
	struct storvsp_channel *channel = request->channel;
	unsigned int count = request->packet.subchannels;

	if (!count || count > max_subchannels(channel->storvsp) ||
	    vmbus_offer_subchannels(channel->channel, count, NULL) < 0)
		answer(request, STORVSC_STATUS_INVALID_PARAMETER);
	else
		answer(request, STORVSC_STATUS_SUCCESS);
}

/* Nothing is aborted: the guest waits for what is under way, and gets it. */
static void reset(struct storvsp_request *request)
{
	answer(request, STORVSC_STATUS_SUCCESS);
}

/* --- SRBs --- */

static uint32_t status_of_srb(uint8_t srb_status)
{
	switch (srb_status & 0x3f) {
	case STORVSC_SRB_SUCCESS: return STORVSC_STATUS_SUCCESS;
	case STORVSC_SRB_BUSY: return STORVSC_STATUS_DEVICE_BUSY;
	case STORVSC_SRB_DATA_OVERRUN: return STORVSC_STATUS_BUFFER_OVERFLOW;
	case STORVSC_SRB_INVALID_LUN: return STORVSC_STATUS_DEVICE_NOT_THERE;
	case STORVSC_SRB_ABORTED: return STORVSC_STATUS_CANCELLED;
	default: return STORVSC_STATUS_IO_DEVICE_ERROR;
	}
}

static void srb_done(struct scsi_command *command)
{
	struct storvsp_request *request = storvsp_request_of(command);
	bool old = request->channel->storvsp->version < STORVSC_VERSION_5_1;
	struct storvsc_srb *srb = &request->packet.srb;
	struct storvsc_srb reply = {
		.length = old ? STORVSC_SRB_BYTES_OLD : sizeof(reply),
		.srb_status = command->srb_status,
		.scsi_status = command->status,
		.port = srb->port,
		.path_id = srb->path_id,
		.target_id = srb->target_id,
		.lun = srb->lun,
		.cdb_length = STORVSC_CDB_BYTES,
		.sense_length = old ? STORVSC_SENSE_BYTES_OLD : STORVSC_SENSE_BYTES,
		.data_in = srb->data_in,
		.data_transfer_length = command->transferred,
	};

	if (command->memory_written)
		vmbus_iovec_written(request->channel->channel, command->iov, command->iov_count);
	memcpy(reply.sense, command->sense, sizeof(command->sense));
	*srb = reply;
	answer(request, status_of_srb(command->srb_status));
}

/* Exactly the command's bytes of the range that came with the packet. */
static void trim_data(struct scsi_command *command)
{
	size_t left = command->data_bytes;
	int count = 0;

	for (; left; count++) {
		command->iov[count].iov_len = MIN(command->iov[count].iov_len, left);
		left -= command->iov[count].iov_len;
	}
	command->iov_count = count;
}

static bool get_data(struct storvsp_request *request, const struct vmbus_packet *packet)
{
	struct scsi_command *command = &request->command;
	uint32_t range_bytes;
	int count;

	command->iov_count = 0;
	command->data_bytes = 0;
	if (packet->type != VMBUS_PACKET_GPA_DIRECT)
		return true;
	command->data_bytes = request->packet.srb.data_transfer_length;
	if (packet->range_count != 1 || command->data_bytes > SCSI_MAX_TRANSFER_BYTES)
		return false;
	count = vmbus_packet_iovec(request->channel->channel, packet, 0, command->iov,
				   SCSI_MAX_IOVECS, &range_bytes);
	if (count < 0 || range_bytes < command->data_bytes)
		return false;
	trim_data(command);
	return true;
}

static void dispatch(struct storvsp *storvsp, struct storvsp_request *request);

static void execute_srb(struct storvsp_request *request, const struct vmbus_packet *packet)
{
	struct scsi_command *command = &request->command;
	const struct storvsc_srb *srb = &request->packet.srb;

	memcpy(command->cdb, srb->cdb, sizeof(command->cdb));
	command->cdb_bytes = srb->cdb_length;
	command->direction = srb->data_in;
	command->done = srb_done;
	if (!get_data(request, packet) || srb->cdb_length > STORVSC_CDB_BYTES)
		scsi_refuse(command);
	else
		dispatch(request->channel->storvsp, request);
}

/* An IDE channel is one disk, told by its target; on SCSI only path 0 and target 0 exist. */
static bool target_exists(const struct storvsp *storvsp, const struct storvsc_srb *srb)
{
	if (storvsp->config.kind == STORVSP_IDE)
		return srb->target_id == (storvsp->config.number & 1);
	return srb->path_id == 0 && srb->target_id == 0;
}

/*
 * Which LUNs a guest hears of, or it would find the same disks on every path and target. The IDE
 * path counts here only: Linux sends 0 for either.
 */
static uint64_t luns_to_report(struct storvsp *storvsp, const struct storvsc_srb *srb)
{
	uint64_t luns = 0;

	if (!target_exists(storvsp, srb) ||
	    (storvsp->config.kind == STORVSP_IDE && srb->path_id != storvsp->config.number >> 1))
		return 0;
	for (unsigned int lun = 0; lun < STORVSP_MAX_LUNS; lun++)
		if (storvsp_unit(storvsp, lun))
			luns |= BIT(lun);
	return luns;
}

static void dispatch(struct storvsp *storvsp, struct storvsp_request *request)
{
	const struct storvsc_srb *srb = &request->packet.srb;
	struct scsi_unit *unit = NULL;

	if (request->command.cdb[0] == SCSI_REPORT_LUNS) {
		scsi_report_luns(&request->command, luns_to_report(storvsp, srb));
		return;
	}
	if (target_exists(storvsp, srb))
		unit = storvsp_unit(storvsp, srb->lun);
	if (unit)
		scsi_execute(unit, &request->command);
	else
		scsi_execute_absent(&request->command, srb->lun);
}

/* --- dispatch --- */

static const struct {
	uint8_t states;	 /* in which it may come */
	bool subchannel; /* also there */
	void (*serve)(struct storvsp_request *request);
} operations[] = {
	[STORVSC_RESET_LUN] = {STORVSP_READY, true, reset},
	[STORVSC_RESET_ADAPTER] = {STORVSP_READY, true, reset},
	[STORVSC_RESET_BUS] = {STORVSP_READY, true, reset},
	[STORVSC_BEGIN_INITIALIZATION] = {STORVSP_BEGIN, false, begin_initialization},
	[STORVSC_QUERY_PROTOCOL_VERSION] = {STORVSP_VERSION, false, query_protocol_version},
	[STORVSC_QUERY_PROPERTIES] = {STORVSP_PROPERTIES, false, query_properties},
	[STORVSC_END_INITIALIZATION] = {STORVSP_END, false, end_initialization},
	[STORVSC_CREATE_SUB_CHANNELS] = {STORVSP_END | STORVSP_READY, false, create_sub_channels},
};

static void serve(struct storvsp_request *request)
{
	struct storvsp_channel *channel = request->channel;
	uint32_t operation = request->packet.operation;

	if (operation >= ARRAY_SIZE(operations) || !operations[operation].serve)
		answer(request, STORVSC_STATUS_INVALID_PARAMETER);
	else if (!(operations[operation].states & channel->storvsp->state) ||
		 (!channel->primary && !operations[operation].subchannel))
		answer(request, STORVSC_STATUS_INVALID_DEVICE_STATE);
	else
		operations[operation].serve(request);
}

void storvsp_receive(struct storvsp_request *request, const struct vmbus_packet *packet)
{
	if (packet->payload_bytes < STORVSC_PACKET_BYTES_OLD)
		answer(request, STORVSC_STATUS_INVALID_PARAMETER);
	else if (request->packet.operation != STORVSC_EXECUTE_SRB)
		serve(request);
	else if (request->channel->storvsp->state != STORVSP_READY)
		answer(request, STORVSC_STATUS_INVALID_DEVICE_STATE);
	else
		execute_srb(request, packet);
}

uint32_t storvsp_make_enumerate(const struct storvsp *storvsp, struct storvsc_packet *ret_packet)
{
	*ret_packet = (struct storvsc_packet){.operation = STORVSC_ENUMERATE_BUS};
	if (storvsp->version < STORVSC_VERSION_4_2)
		return 0;
	return storvsp->version < STORVSC_VERSION_5_1 ? STORVSC_PACKET_BYTES_OLD
						      : STORVSC_PACKET_BYTES;
}
