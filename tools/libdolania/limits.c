/* SPDX-License-Identifier: Apache-2.0 */
/* limits.c - sizes and durations as people write them. */
#include <inttypes.h>
#include <stdio.h>
#include <string.h>
#include <strings.h>
#include <sys/sysinfo.h>

#include "tools/libdolania/internal.h"

struct unit {
	const char *name;
	uint64_t factor;
};

static const struct unit sizes[] = {
	{ "", 1 },		{ "B", 1 },
	{ "K", 1ull << 10 },	{ "KiB", 1ull << 10 },
	{ "M", 1ull << 20 },	{ "MiB", 1ull << 20 },
	{ "G", 1ull << 30 },	{ "GiB", 1ull << 30 },
	{ "T", 1ull << 40 },	{ "TiB", 1ull << 40 },
};

static const struct unit durations[] = {
	{ "", NS_PER_S },	{ "ns", 1 },
	{ "us", 1000 },		{ "ms", NS_PER_MS },
	{ "s", NS_PER_S },	{ "m", 60 * NS_PER_S },
	{ "min", 60 * NS_PER_S },	{ "h", 3600 * NS_PER_S },
};

/* Digits, maybe a fraction of up to nine digits, and a unit. */
static int parse(const char *text, const struct unit *units, size_t count, uint64_t *out)
{
	uint64_t whole = 0, fraction = 0, scale = 1;

	if (*text < '0' || *text > '9')
		return -1;
	for (; *text >= '0' && *text <= '9'; text++)
		if (__builtin_mul_overflow(whole, 10, &whole) ||
		    __builtin_add_overflow(whole, (uint64_t)(*text - '0'), &whole))
			whole = UINT64_MAX;	/* stays too much, whatever the unit */
	if (*text == '.')
		for (text++; *text >= '0' && *text <= '9' && scale < NS_PER_S; text++, scale *= 10)
			fraction = fraction * 10 + (uint64_t)(*text - '0');
	for (size_t i = 0; i < count; i++) {
		uint64_t value;

		if (strcasecmp(text, units[i].name) != 0)
			continue;
		if (__builtin_mul_overflow(whole, units[i].factor, &value) ||
		    __builtin_add_overflow(value, (uint64_t)((unsigned __int128)fraction *
					   units[i].factor / scale), &value) || value > INT64_MAX)
			return -2;
		*out = value;
		return 0;
	}
	return -1;
}

int dolania_parse_bytes(const char *text, uint64_t *bytes)
{
	return parse(text, sizes, sizeof(sizes) / sizeof(sizes[0]), bytes);
}

int dolania_parse_ns(const char *text, uint64_t *ns)
{
	return parse(text, durations, sizeof(durations) / sizeof(durations[0]), ns);
}

const char *dolania_format_bytes(uint64_t bytes, char *to, size_t room)
{
	static const char letters[] = { 'T', 'G', 'M', 'K' };
	unsigned shift = 40;

	for (size_t i = 0; i < sizeof(letters); i++, shift -= 10)
		if (bytes != 0 && bytes % (1ull << shift) == 0) {
			snprintf(to, room, "%" PRIu64 "%c", bytes >> shift, letters[i]);
			return to;
		}
	snprintf(to, room, "%" PRIu64, bytes);
	return to;
}

const char *dolania_format_ns(uint64_t ns, char *to, size_t room)
{
	static const struct unit units[] = {
		{ "h", 3600 * NS_PER_S }, { "m", 60 * NS_PER_S }, { "s", NS_PER_S },
		{ "ms", NS_PER_MS }, { "us", 1000 }, { "ns", 1 },
	};

	for (size_t i = 0; i < sizeof(units) / sizeof(units[0]); i++) {
		/* "60s" rather than "1m", as it was most likely given */
		if (i < 2 && ns < 2 * units[i].factor)
			continue;
		if (ns % units[i].factor == 0) {
			snprintf(to, room, "%" PRIu64 "%s", ns / units[i].factor, units[i].name);
			return to;
		}
	}
	return to;
}

uint64_t dolania_memory_max(void)
{
	const uint64_t ours = 64ull << 30;
	struct sysinfo si;
	uint64_t host;

	if (sysinfo(&si) != 0)
		return ours;
	host = ((uint64_t)si.totalram * si.mem_unit) & ~((1ull << 20) - 1);
	return host < ours ? host : ours;
}
