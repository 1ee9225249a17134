/*
 * uart.c - the 16550A: registers and FIFOs towards the guest, a backend on the line's other side
 *
 * Output. The line has no speed: what the guest writes leaves its FIFO at once into out[], so
 * THRE and TEMT are set as long as out[] has room for one more FIFO full. out[] goes to the
 * backend at a line's end, when a good deal has come together, or FLUSH_NS after its first byte,
 * so that a boot log costs a write a line and an echoed key is not held back noticeably. A
 * backend that takes less than offered is asked again every RETRY_NS or when it says so.
 *
 * Input. The 16-byte receive FIFO (one byte with FIFOs off) is all there is; uart_receive() takes
 * what fits and the backend keeps the rest until input_room(). Nothing is taken before the guest
 * wants it, since a driver empties the FIFO when it starts: its receive interrupt can reach the
 * CPU, or it keeps looking at LSR with nothing to send, as polling guests do. So what waits in
 * a pipe when the VM starts is not lost.
 *
 * Interrupts, by priority: line status, received data (or time-out: here at once, since the sender
 * has paused whenever the FIFO is below its trigger level), THR empty, modem status. The
 * interrupt line is gated by MCR.OUT2, as on every PC.
 *
 * Invariants: rx_count <= 16; out_count <= OUT_BYTES.
 */
#include "uart.h"

#include <errno.h>
#include <string.h>

#define FIFO_BYTES 16u
#define OUT_BYTES  4096u
#define FLUSH_AT   512u
#define FLUSH_NS   1000000u
#define RETRY_NS   10000000u
#define POLLS	   64u /* looks at LSR in a row, none followed by output: waits for input */

enum { REG_DATA, REG_IER, REG_IIR_FCR, REG_LCR, REG_MCR, REG_LSR, REG_MSR, REG_SCRATCH };

#define IER_RECEIVED 0x01
#define IER_THRE     0x02
#define IER_LINE     0x04
#define IER_MODEM    0x08

#define IIR_NONE     0x01
#define IIR_MODEM    0x00
#define IIR_THRE     0x02
#define IIR_RECEIVED 0x04
#define IIR_LINE     0x06
#define IIR_TIMEOUT  0x0c
#define IIR_FIFOS    0xc0

#define FCR_ENABLE	  0x01
#define FCR_CLEAR_RX	  0x02
#define FCR_CLEAR_TX	  0x04
#define FCR_TRIGGER_SHIFT 6

#define LCR_BREAK 0x40
#define LCR_DLAB  0x80

#define MCR_DTR	 0x01
#define MCR_RTS	 0x02
#define MCR_OUT1 0x04
#define MCR_OUT2 0x08
#define MCR_LOOP 0x10

#define LSR_DATA    0x01
#define LSR_OVERRUN 0x02
#define LSR_BREAK   0x10
#define LSR_ERRORS  0x1e
#define LSR_THRE    0x20
#define LSR_TEMT    0x40

#define MSR_CTS 0x10
#define MSR_DSR 0x20
#define MSR_RI	0x40
#define MSR_DCD 0x80

struct uart {
	struct device dev;
	/* configuration */
	unsigned int gsi;
	struct uart_backend backend;
	struct pio_range pio;
	/* services */
	struct chipset_timer *flush_timer;
	/* state */
	uint8_t ier, fcr, lcr, mcr, scratch;
	uint8_t divisor[2];
	uint8_t errors;		/* LSR bits 1-4 */
	uint8_t modem_deltas;	/* MSR bits 0-3 */
	uint8_t modem;		/* MSR bits 4-7 */
	uint8_t thre_interrupt; /* THR became empty and nobody has heard yet */
	uint8_t rx[FIFO_BYTES], rx_break[FIFO_BYTES]; /* rx_break: that byte was a break */
	uint8_t rx_count;
	/* rebuilt */
	bool input_waits; /* the backend holds bytes that were not taken */
	uint8_t polls;	  /* times LSR was read with room for output since the last output */
	bool output_blocked;
	uint32_t out_count;
	uint8_t out[OUT_BYTES];
};

static struct uart *to_uart(struct device *dev)
{
	return (struct uart *)dev;
}

static bool has_room(const struct uart *uart)
{
	return OUT_BYTES - uart->out_count >= FIFO_BYTES;
}

/* --- interrupts --- */

static unsigned int trigger_level(const struct uart *uart)
{
	static const uint8_t level[] = {1, 4, 8, 14};

	return uart->fcr & FCR_ENABLE ? level[uart->fcr >> FCR_TRIGGER_SHIFT] : 1;
}

static bool line_status_pending(const struct uart *uart)
{
	return uart->errors || (uart->rx_count && uart->rx_break[0]);
}

static uint8_t interrupt_id(const struct uart *uart)
{
	if ((uart->ier & IER_LINE) && line_status_pending(uart))
		return IIR_LINE;
	if ((uart->ier & IER_RECEIVED) && uart->rx_count)
		return uart->rx_count >= trigger_level(uart) ? IIR_RECEIVED : IIR_TIMEOUT;
	if ((uart->ier & IER_THRE) && uart->thre_interrupt)
		return IIR_THRE;
	if ((uart->ier & IER_MODEM) && uart->modem_deltas)
		return IIR_MODEM;
	return IIR_NONE;
}

static void update_line(struct uart *uart)
{
	bool gate = (uart->mcr & (MCR_OUT2 | MCR_LOOP)) == MCR_OUT2;

	device_set_irq(&uart->dev, uart->gsi, gate && interrupt_id(uart) != IIR_NONE);
}

/* --- output --- */

static void flush_output(struct uart *uart)
{
	bool had_room = has_room(uart);
	size_t taken = uart->out_count;

	if (uart->backend.write && uart->out_count)
		taken = uart->backend.write(uart->backend.ctx, uart->out, uart->out_count);
	taken = MIN(taken, (size_t)uart->out_count);
	uart->out_count -= (uint32_t)taken;
	memmove(uart->out, uart->out + taken, uart->out_count);
	uart->output_blocked = uart->out_count;
	if (uart->out_count)
		chipset_timer_arm(uart->flush_timer, device_now_ns(&uart->dev) + RETRY_NS);
	if (!had_room && has_room(uart)) {
		uart->thre_interrupt = 1;
		update_line(uart);
	}
}

static void flush_due(struct device *dev)
{
	flush_output(to_uart(dev));
}

static void transmit(struct uart *uart, uint8_t byte)
{
	if (uart->out_count < OUT_BYTES) /* else: the guest did not look at THRE */
		uart->out[uart->out_count++] = byte;
	uart->thre_interrupt = has_room(uart);
	uart->polls = 0;
	if (!uart->output_blocked && (byte == '\n' || uart->out_count >= FLUSH_AT))
		flush_output(uart);
	else if (uart->out_count && !chipset_timer_is_armed(uart->flush_timer))
		chipset_timer_arm(uart->flush_timer, device_now_ns(&uart->dev) + FLUSH_NS);
}

/* --- input --- */

static unsigned int rx_capacity(const struct uart *uart)
{
	return uart->fcr & FCR_ENABLE ? FIFO_BYTES : 1;
}

static bool receive(struct uart *uart, uint8_t byte, bool is_break)
{
	if (uart->rx_count >= rx_capacity(uart))
		return false;
	uart->rx[uart->rx_count] = byte;
	uart->rx_break[uart->rx_count++] = is_break;
	return true;
}

static void clear_rx(struct uart *uart)
{
	uart->rx_count = 0;
	uart->errors = 0;
}

static bool wants_input(const struct uart *uart)
{
	if (uart->mcr & MCR_LOOP)
		return false;
	/* The enable alone is not enough: probes set all of IER to see which bits stick. */
	return ((uart->ier & IER_RECEIVED) && (uart->mcr & MCR_OUT2)) || uart->polls >= POLLS;
}

/* The FIFO has room and the guest wants input: let the backend offer what it kept. */
static void ask_for_input(struct uart *uart)
{
	if (!uart->input_waits || uart->rx_count || !wants_input(uart))
		return;
	uart->input_waits = false;
	if (uart->backend.input_room)
		uart->backend.input_room(uart->backend.ctx);
}

static uint8_t read_data(struct uart *uart)
{
	uint8_t byte = uart->rx[0];

	if (!uart->rx_count)
		return 0;
	if (uart->rx_break[0])
		uart->errors |= LSR_BREAK; /* for a guest that reads the byte before the status */
	uart->rx_count--;
	memmove(uart->rx, uart->rx + 1, uart->rx_count);
	memmove(uart->rx_break, uart->rx_break + 1, uart->rx_count);
	ask_for_input(uart);
	return byte;
}

/* --- modem lines --- */

static uint8_t modem_inputs(const struct uart *uart)
{
	if (!(uart->mcr & MCR_LOOP)) /* a cable with somebody at the other end */
		return MSR_CTS | MSR_DSR | MSR_DCD;
	return (uart->mcr & MCR_RTS ? MSR_CTS : 0) | (uart->mcr & MCR_DTR ? MSR_DSR : 0) |
	       (uart->mcr & MCR_OUT1 ? MSR_RI : 0) | (uart->mcr & MCR_OUT2 ? MSR_DCD : 0);
}

static void update_modem(struct uart *uart)
{
	uint8_t now = modem_inputs(uart), changed = (uart->modem ^ now) >> 4;

	if (now & MSR_RI)
		changed &= ~(MSR_RI >> 4); /* only the ring's end is reported */
	uart->modem_deltas |= changed;
	uart->modem = now;
}

/* --- registers --- */

static void write_fcr(struct uart *uart, uint8_t value)
{
	/*
	 * The data sheet empties the FIFO also when it is turned on. Linux enables the interrupt
	 * before the FIFO, so the first byte of a sender that waited would be lost: it is kept.
	 */
	if ((uart->fcr & ~value & FCR_ENABLE) || (value & FCR_CLEAR_RX))
		clear_rx(uart);
	/* The transmit FIFO is always empty already. The other bits need the enable bit. */
	uart->fcr = value & FCR_ENABLE ? value & ~(FCR_CLEAR_RX | FCR_CLEAR_TX) : 0;
	ask_for_input(uart);
}

static void write_ier(struct uart *uart, uint8_t value)
{
	/* Enabling the THR interrupt reports an empty THR at once. */
	if ((value & ~uart->ier & IER_THRE) && has_room(uart))
		uart->thre_interrupt = 1;
	uart->ier = value & 0x0f;
	ask_for_input(uart);
}

static void write_data(struct uart *uart, uint8_t byte)
{
	if (!(uart->mcr & MCR_LOOP)) {
		transmit(uart, byte);
		return;
	}
	if (!receive(uart, byte, false))
		uart->errors |= LSR_OVERRUN;
	uart->thre_interrupt = 1;
}

static void uart_write(struct device *dev, uint16_t offset, unsigned int bytes, uint32_t value)
{
	struct uart *uart = to_uart(dev);
	uint8_t byte = (uint8_t)value;

	switch (offset) {
	case REG_DATA:
		if (uart->lcr & LCR_DLAB)
			uart->divisor[0] = byte;
		else
			write_data(uart, byte);
		break;
	case REG_IER:
		if (uart->lcr & LCR_DLAB)
			uart->divisor[1] = byte;
		else
			write_ier(uart, byte);
		break;
	case REG_IIR_FCR: write_fcr(uart, byte); break;
	case REG_LCR: uart->lcr = byte; break;
	case REG_MCR:
		uart->mcr = byte & 0x1f;
		update_modem(uart);
		ask_for_input(uart);
		break;
	case REG_SCRATCH: uart->scratch = byte; break;
	default: break; /* LSR and MSR: factory test only */
	}
	update_line(uart);
}

static uint8_t read_iir(struct uart *uart)
{
	uint8_t id = interrupt_id(uart);

	if (id == IIR_THRE)
		uart->thre_interrupt = 0;
	return id | (uart->fcr & FCR_ENABLE ? IIR_FIFOS : 0);
}

static uint8_t read_lsr(struct uart *uart)
{
	uint8_t status = uart->errors;

	if (uart->rx_count) {
		status |= LSR_DATA | (uart->rx_break[0] ? LSR_BREAK : 0);
		uart->rx_break[0] = 0;
	}
	if (has_room(uart)) {
		status |= LSR_THRE | LSR_TEMT;
		uart->polls = MIN(uart->polls + 1u, POLLS);
	}
	uart->errors = 0;
	ask_for_input(uart);
	return status;
}

static uint8_t read_msr(struct uart *uart)
{
	uint8_t status = uart->modem | uart->modem_deltas;

	uart->modem_deltas = 0;
	return status;
}

static uint8_t read_register(struct uart *uart, uint16_t offset)
{
	switch (offset) {
	case REG_DATA: return uart->lcr & LCR_DLAB ? uart->divisor[0] : read_data(uart);
	case REG_IER: return uart->lcr & LCR_DLAB ? uart->divisor[1] : uart->ier;
	case REG_IIR_FCR: return read_iir(uart);
	case REG_LCR: return uart->lcr;
	case REG_MCR: return uart->mcr;
	case REG_LSR: return read_lsr(uart);
	case REG_MSR: return read_msr(uart);
	default: return uart->scratch;
	}
}

static uint32_t uart_read(struct device *dev, uint16_t offset, unsigned int bytes)
{
	struct uart *uart = to_uart(dev);
	uint8_t value = read_register(uart, offset);

	update_line(uart);
	return value;
}

/* --- the backend's side --- */

size_t uart_receive(struct device *dev, const uint8_t *bytes, size_t n)
{
	struct uart *uart = to_uart(dev);
	size_t taken = 0;

	chipset_lock(dev->chipset);
	while (taken < n && wants_input(uart) && receive(uart, bytes[taken], false))
		taken++;
	uart->input_waits = taken < n;
	update_line(uart);
	chipset_unlock(dev->chipset);
	return taken;
}

void uart_break(struct device *dev)
{
	struct uart *uart = to_uart(dev);

	chipset_lock(dev->chipset);
	if (!(uart->mcr & MCR_LOOP) && !receive(uart, 0, true))
		uart->errors |= LSR_BREAK;
	update_line(uart);
	chipset_unlock(dev->chipset);
}

void uart_output_ready(struct device *dev)
{
	uart_flush(dev);
}

void uart_flush(struct device *dev)
{
	chipset_lock(dev->chipset);
	flush_output(to_uart(dev));
	chipset_unlock(dev->chipset);
}

/* --- life --- */

static int uart_create(struct device *dev, const void *config)
{
	const struct uart_config *uart_config = config;
	struct uart *uart = to_uart(dev);
	int r;

	uart->gsi = uart_config->gsi;
	uart->backend = uart_config->backend;
	uart->pio = (struct pio_range){.base = uart_config->port,
				       .count = 8,
				       .width = 1,
				       .read = uart_read,
				       .write = uart_write};
	r = device_timer_new(dev, flush_due, &uart->flush_timer);
	return r < 0 ? r : device_claim_pio(dev, &uart->pio);
}

static void uart_reset(struct device *dev)
{
	struct uart *uart = to_uart(dev);

	uart->ier = uart->fcr = uart->lcr = uart->mcr = uart->scratch = 0;
	uart->divisor[0] = 12; /* 9600 baud */
	uart->divisor[1] = 0;
	uart->modem = modem_inputs(uart);
	uart->modem_deltas = uart->thre_interrupt = uart->polls = 0;
	memset(uart->rx, 0, sizeof(uart->rx));
	memset(uart->rx_break, 0, sizeof(uart->rx_break));
	clear_rx(uart);
	update_line(uart);
	flush_output(uart);
	ask_for_input(uart);
}

static int uart_rebuild(struct device *dev)
{
	struct uart *uart = to_uart(dev);

	if (uart->ier > 0x0f || uart->mcr > 0x1f || uart->rx_count > rx_capacity(uart) ||
	    (uart->errors & ~LSR_ERRORS) || (uart->modem_deltas & 0xf0) ||
	    uart->modem != modem_inputs(uart))
		return -EINVAL;
	uart->input_waits = true;
	uart->polls = 0;
	ask_for_input(uart);
	update_line(uart);
	return 0;
}

/* What was still held back is offered a last time. */
static void uart_destroy(struct device *dev)
{
	struct uart *uart = to_uart(dev);

	if (uart->backend.write && uart->out_count)
		uart->backend.write(uart->backend.ctx, uart->out, uart->out_count);
}

static const struct state_field uart_state[] = {
	STATE_FIELD(1, struct uart, ier),	STATE_FIELD(2, struct uart, fcr),
	STATE_FIELD(3, struct uart, lcr),	STATE_FIELD(4, struct uart, mcr),
	STATE_FIELD(5, struct uart, scratch),	STATE_FIELD(6, struct uart, divisor),
	STATE_FIELD(7, struct uart, errors),	STATE_FIELD(8, struct uart, modem_deltas),
	STATE_FIELD(9, struct uart, modem),	STATE_FIELD(10, struct uart, thre_interrupt),
	STATE_FIELD(11, struct uart, rx),	STATE_FIELD(12, struct uart, rx_break),
	STATE_FIELD(13, struct uart, rx_count), {}};

const struct device_class uart_class = {
	.name = "uart",
	.size = sizeof(struct uart),
	.state = uart_state,
	.create = uart_create,
	.reset = uart_reset,
	.rebuild = uart_rebuild,
	.destroy = uart_destroy,
};
