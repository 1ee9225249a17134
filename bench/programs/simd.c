/*
 * simd.c - vector code: SSE2, which every x86-64 has, and AVX2 where the processor says so
 */
#include <immintrin.h>
#include <stdlib.h>
#include <string.h>

#include "benchmark.h"

#define AVX2 __attribute__((target("avx2")))

static bool has_avx2(void)
{
	return __builtin_cpu_supports("avx2");
}

/* @bytes of pseudo-random bytes, aligned to 32; the caller frees them. */
static uint8_t *noise(size_t bytes)
{
	uint8_t *data = aligned_alloc(32, bytes);
	uint64_t state = 21;

	for (size_t i = 0; i < bytes; i++)
		data[i] = random_next(&state) >> 48;
	return data;
}

static float *floats(size_t count)
{
	float *data = aligned_alloc(32, count * sizeof(*data));

	for (size_t i = 0; i < count; i++)
		data[i] = (i * 7 % 64) * 0.125f;
	return data;
}

static uint64_t simd_dot_sse(void)
{
	enum { COUNT = 8192, ROUNDS = 40000 };
	float *a = floats(COUNT), *b = floats(COUNT), parts[4];
	uint64_t sum = 0;

	for (int round = 0; round < ROUNDS; round++) {
		__m128 total = _mm_setzero_ps();

		for (int i = 0; i < COUNT; i += 8) {
			__m128 x = _mm_mul_ps(_mm_load_ps(a + i), _mm_load_ps(b + i));
			__m128 y = _mm_mul_ps(_mm_load_ps(a + i + 4), _mm_load_ps(b + i + 4));

			total = _mm_add_ps(total, _mm_add_ps(x, y));
		}
		_mm_storeu_ps(parts, total);
		a[round % COUNT] = 0.5f;
		sum = checksum_add(sum, parts[0] + parts[1] + parts[2] + parts[3]);
	}
	free(a);
	free(b);
	return sum;
}

AVX2 static uint64_t simd_dot_avx2(void)
{
	enum { COUNT = 8192, ROUNDS = 40000 };
	float *a = floats(COUNT), *b = floats(COUNT), parts[8];
	uint64_t sum = 0;

	for (int round = 0; round < ROUNDS; round++) {
		__m256 total = _mm256_setzero_ps();

		for (int i = 0; i < COUNT; i += 16) {
			__m256 x = _mm256_mul_ps(_mm256_load_ps(a + i), _mm256_load_ps(b + i));
			__m256 y =
				_mm256_mul_ps(_mm256_load_ps(a + i + 8), _mm256_load_ps(b + i + 8));

			total = _mm256_add_ps(total, _mm256_add_ps(x, y));
		}
		_mm256_storeu_ps(parts, total);
		a[round % COUNT] = 0.5f;
		sum = checksum_add(sum, parts[0] + parts[3] + parts[5] + parts[7]);
	}
	free(a);
	free(b);
	return sum;
}

/* Sums of absolute differences at every offset of a window: motion search. */
static uint64_t simd_sad_sse2(void)
{
	enum { BYTES = 1 << 15, WINDOW = 1024, ROUNDS = 4000 };
	uint8_t *data = noise(BYTES + WINDOW);
	uint64_t sum = 0;

	for (int round = 0; round < ROUNDS; round++) {
		for (int at = 0; at < BYTES; at += 61) {
			__m128i total = _mm_setzero_si128();

			for (int i = 0; i < WINDOW; i += 16) {
				__m128i x = _mm_load_si128((const __m128i *)(data + i));
				__m128i y = _mm_loadu_si128((const __m128i *)(data + at + i));

				total = _mm_add_epi64(total, _mm_sad_epu8(x, y));
			}
			sum = checksum_add(sum, _mm_cvtsi128_si64(total));
		}
		data[round]++;
	}
	free(data);
	return sum;
}

AVX2 static uint64_t simd_sad_avx2(void)
{
	enum { BYTES = 1 << 15, WINDOW = 1024, ROUNDS = 4000 };
	uint8_t *data = noise(BYTES + WINDOW);
	uint64_t sum = 0;

	for (int round = 0; round < ROUNDS; round++) {
		for (int at = 0; at < BYTES; at += 61) {
			__m256i total = _mm256_setzero_si256();

			for (int i = 0; i < WINDOW; i += 32) {
				__m256i x = _mm256_load_si256((const __m256i *)(data + i));
				__m256i y = _mm256_loadu_si256((const __m256i *)(data + at + i));

				total = _mm256_add_epi64(total, _mm256_sad_epu8(x, y));
			}
			sum = checksum_add(sum, _mm256_extract_epi64(total, 0) +
							_mm256_extract_epi64(total, 3));
		}
		data[round]++;
	}
	free(data);
	return sum;
}

/* Exclusive or of blocks with shuffles and shifts between: parity and scrambling. */
static uint64_t simd_xor_sse2(void)
{
	enum { BYTES = 1 << 15, ROUNDS = 100000 };
	uint8_t *data = noise(BYTES);
	__m128i key = _mm_set_epi32(0x1234567, 0x89abcdef, 0x2468ace, 0x13579bdf);
	uint64_t sum = 0;

	for (int round = 0; round < ROUNDS; round++) {
		for (int i = 0; i < BYTES; i += 16) {
			__m128i *block = (__m128i *)(data + i);

			*block = _mm_xor_si128(_mm_shuffle_epi32(*block, 0x39), key);
		}
		key = _mm_xor_si128(_mm_shuffle_epi32(key, 0x39), _mm_slli_epi32(key, 3));
		key = _mm_add_epi32(key, _mm_set1_epi32(round + 1));
	}
	for (int i = 0; i < BYTES; i += 512)
		sum = checksum_add(sum, data[i]);
	free(data);
	return sum;
}

const struct benchmark simd_benchmarks[] = {
	{"simd_dot_sse", simd_dot_sse},	  {"simd_dot_avx2", simd_dot_avx2, has_avx2},
	{"simd_sad_sse2", simd_sad_sse2}, {"simd_sad_avx2", simd_sad_avx2, has_avx2},
	{"simd_xor_sse2", simd_xor_sse2}, {},
};
