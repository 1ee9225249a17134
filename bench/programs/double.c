/*
 * double.c - double-precision arithmetic in scalar SSE2 code, and one program for the x87 unit
 *
 * Compiled without fused multiply-add, so every machine rounds alike and the checksums of the
 * exact bits agree. No function of the mathematics library but sqrt, which IEEE 754 defines.
 */
#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "benchmark.h"

static uint64_t bits(double value)
{
	uint64_t result;

	memcpy(&result, &value, sizeof(result));
	return result;
}

static uint64_t fp_matmul(void)
{
	enum { N = 300 };
	double *a = malloc(N * N * sizeof(*a)), *b = malloc(N * N * sizeof(*b));
	double *c = calloc(N * N, sizeof(*c));
	uint64_t sum = 0;

	for (int i = 0; i < N * N; i++) {
		a[i] = i % 17 * 0.25;
		b[i] = i % 23 * 0.125;
	}
	for (int round = 0; round < 7; round++)
		for (int i = 0; i < N; i++)
			for (int k = 0; k < N; k++)
				for (int j = 0; j < N; j++)
					c[i * N + j] += a[i * N + k] * b[k * N + j];
	for (int i = 0; i < N * N; i += 101)
		sum = checksum_add(sum, bits(c[i]));
	free(a);
	free(b);
	free(c);
	return sum;
}

struct body {
	double x[3], v[3], mass;
};

static void nbody_step(struct body *bodies, int count, double dt)
{
	for (int i = 0; i < count; i++) {
		for (int j = i + 1; j < count; j++) {
			double d[3], square = 0.01, pull;

			for (int k = 0; k < 3; k++) {
				d[k] = bodies[i].x[k] - bodies[j].x[k];
				square += d[k] * d[k];
			}
			pull = dt / (square * sqrt(square));
			for (int k = 0; k < 3; k++) {
				bodies[i].v[k] -= d[k] * bodies[j].mass * pull;
				bodies[j].v[k] += d[k] * bodies[i].mass * pull;
			}
		}
	}
	for (int i = 0; i < count; i++)
		for (int k = 0; k < 3; k++)
			bodies[i].x[k] += dt * bodies[i].v[k];
}

static uint64_t fp_nbody(void)
{
	struct body bodies[5];
	uint64_t sum = 0;

	for (int i = 0; i < 5; i++)
		for (int k = 0; k < 3; k++)
			bodies[i] = (struct body){
				{i, i * 0.5 - 1, 2 - i}, {0.1 * i, 0, 0.2}, 1.0 / (i + 1)};
	for (int i = 0; i < 1000000; i++)
		nbody_step(bodies, 5, 0.001);
	for (int i = 0; i < 5; i++)
		sum = checksum_add(sum, bits(bodies[i].x[0] + bodies[i].v[1]));
	return sum;
}

/* In-place radix-2 transform; the roots come from repeated square roots of a half turn. */
static void fft(double *re, double *im, int n, const double *root_re, const double *root_im)
{
	for (int i = 1, j = 0; i < n; i++) {
		int bit = n >> 1;

		for (; j & bit; bit >>= 1)
			j ^= bit;
		j ^= bit;
		if (i < j) {
			double r = re[i], m = im[i];

			re[i] = re[j];
			im[i] = im[j];
			re[j] = r;
			im[j] = m;
		}
	}
	for (int half = 1, level = 0; half < n; half *= 2, level++) {
		for (int i = 0; i < n; i += 2 * half) {
			double wr = 1, wi = 0;

			for (int k = i; k < i + half; k++) {
				double r = re[k + half] * wr - im[k + half] * wi;
				double m = re[k + half] * wi + im[k + half] * wr;
				double next = wr * root_re[level] - wi * root_im[level];

				wi = wr * root_im[level] + wi * root_re[level];
				wr = next;
				re[k + half] = re[k] - r;
				im[k + half] = im[k] - m;
				re[k] += r;
				im[k] += m;
			}
		}
	}
}

static uint64_t fp_fft(void)
{
	enum { LEVELS = 12, N = 1 << LEVELS };
	static double re[N], im[N], root_re[LEVELS], root_im[LEVELS];
	uint64_t sum = 0;

	root_re[0] = -1;
	for (int i = 1; i < LEVELS; i++) {
		root_re[i] = sqrt((1 + root_re[i - 1]) / 2);
		root_im[i] = -sqrt((1 - root_re[i - 1]) / 2);
	}
	for (int i = 0; i < N; i++)
		re[i] = i % 37 - 18;
	for (int round = 0; round < 1000; round++) {
		fft(re, im, N, root_re, root_im);
		for (int i = 0; i < N; i++) {
			re[i] /= 64;
			im[i] /= 64;
		}
	}
	for (int i = 0; i < N; i += 7)
		sum = checksum_add(sum, bits(re[i]) ^ bits(im[i]));
	return sum;
}

static uint64_t fp_mandelbrot(void)
{
	enum { SIZE = 800, LIMIT = 300 };
	uint64_t sum = 0;

	for (int row = 0; row < SIZE; row++) {
		for (int column = 0; column < SIZE; column++) {
			double cr = column * 3.0 / SIZE - 2.2, ci = row * 3.0 / SIZE - 1.5;
			double zr = 0, zi = 0;
			int steps = 0;

			for (; steps < LIMIT && zr * zr + zi * zi < 4; steps++) {
				double next = zr * zr - zi * zi + cr;

				zi = 2 * zr * zi + ci;
				zr = next;
			}
			sum = checksum_add(sum, steps);
		}
	}
	return sum;
}

/* Long double is the x87 unit. */
static uint64_t fp_x87(void)
{
	long double x = 0.3L, sum = 0;

	for (int i = 0; i < 25000000; i++) {
		x = 3.7L * x * (1 - x);
		sum += x;
	}
	return bits((double)sum);
}

const struct benchmark double_benchmarks[] = {
	{"fp_matmul", fp_matmul},	  {"fp_nbody", fp_nbody}, {"fp_fft", fp_fft},
	{"fp_mandelbrot", fp_mandelbrot}, {"fp_x87", fp_x87},	  {},
};
