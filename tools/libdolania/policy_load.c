/* SPDX-License-Identifier: Apache-2.0 */
/*
 * policy_load.c - policy files, found by name or path, and what they are like.
 *
 *	/etc/dolania/policies/NAME.ini              the site's
 *	share/dolania/policies/NAME.ini             shipped, beside the images
 *
 * What is under /etc/dolania is believed only if nobody but root can have written
 * it; else nothing runs, for a ceiling that anyone can lift is none.
 */
#define _GNU_SOURCE
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <sodium.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "tools/libdolania/internal.h"
#include "tools/libdolania/policy.h"

#define SUFFIX ".ini"
#define SITE_POLICIES POLICY_SITE_DIR "/policies"

static int wrong(char *error, const char *format, ...) __attribute__((format(printf, 2, 3)));
static int wrong(char *error, const char *format, ...)
{
	char line[DOLANIA_LINE * 2];
	va_list ap;

	va_start(ap, format);
	vsnprintf(line, sizeof(line), format, ap);
	va_end(ap);
	text_escape(error, DOLANIA_LINE, line, strlen(line), false);
	return -1;
}

/* A call on `path` failed: is that the path's fault, or has the host no room? */
static int failed(struct dolania_policy *p, char *error, const char *path)
{
	p->host_failed = reason_of_file(errno) != DOLANIA_USAGE;
	return wrong(error, "%s: cannot read the policy: %s", path, strerror(errno));
}

/* Files and directories of the site's are root's own, and nobody else's to write. */
static int check_owner(struct dolania_policy *p, int fd, const char *path, char *error)
{
	struct stat st;

	if (fstat(fd, &st) < 0)
		return failed(p, error, path);
	if (st.st_uid != 0 || (st.st_mode & 022) != 0)
		return wrong(error, "%s: others than root can write it, so it cannot bind anyone; chown root, chmod go-w",
			     path);
	return 0;
}

static int read_file(struct dolania_policy *p, int fd, char *text, size_t *bytes, char *error)
{
	unsigned char digest[crypto_hash_sha256_BYTES];
	struct stat st;
	ssize_t n;

	if (fstat(fd, &st) < 0)
		return failed(p, error, p->file);
	if (!S_ISREG(st.st_mode))
		return wrong(error, "%s: a policy must be a regular file", p->file);
	*bytes = 0;
	while ((n = read(fd, text + *bytes, POLICY_FILE_MAX_BYTES + 1 - *bytes)) > 0)
		*bytes += (size_t)n;
	if (n < 0)
		return failed(p, error, p->file);
	if (*bytes > POLICY_FILE_MAX_BYTES)
		return wrong(error, "%s: more than %d KiB; this is no policy", p->file, POLICY_FILE_MAX_BYTES >> 10);
	crypto_hash_sha256(digest, (const unsigned char *)text, *bytes);
	sodium_bin2hex(p->sha256, sizeof(p->sha256), digest, sizeof(digest));
	return 0;
}

/* `dir`: AT_FDCWD, or the site's directory, whose files are checked. */
static int load_file(struct dolania_policy *p, int dir, const char *path, const char *const *options, char *error)
{
	const int flags = O_RDONLY | O_CLOEXEC | O_NOCTTY | O_NONBLOCK | (dir != AT_FDCWD ? O_NOFOLLOW : 0);
	int fd = openat(dir, path, flags), ret;
	char *text = NULL;
	size_t bytes = 0;

	if (fd < 0)
		return failed(p, error, p->file);
	ret = dir != AT_FDCWD ? check_owner(p, fd, p->file, error) : 0;
	if (ret == 0) {
		text = malloc(POLICY_FILE_MAX_BYTES + 1);
		ret = text == NULL ? failed(p, error, p->file) : read_file(p, fd, text, &bytes, error);
	}
	if (ret == 0)
		ret = policy_parse(p, text, bytes, options, error);
	free(text);
	close(fd);
	return ret;
}

/* A directory of the site's: its descriptor, -1 if there is none, -2 if it cannot be trusted. */
static int open_site(struct dolania_policy *p, const char *path, char *error)
{
	int fd = open(path, O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC);

	if (fd < 0 && errno == ENOENT)
		return -1;
	if (fd < 0) {
		(void)failed(p, error, path);
		if (!p->host_failed)
			wrong(error, "%s: %s; it must be a directory that all can read", path, strerror(errno));
		return -2;
	}
	if (check_owner(p, fd, path, error) == 0)
		return fd;
	close(fd);
	return -2;
}

int policy_site(struct dolania_policy *p, const char *const *options, char *error)
{
	int dir, ret;

	memset(p, 0, sizeof(*p));
	error[0] = '\0';
	p->is_site = true;
	p->kill_severity = 3;
	dir = open_site(p, POLICY_SITE_DIR, error);
	if (dir < 0)
		return dir == -1 ? 0 : -1;
	if (faccessat(dir, "site.ini", F_OK, AT_SYMLINK_NOFOLLOW) < 0 && errno == ENOENT) {
		close(dir);
		return 0;
	}
	snprintf(p->name, sizeof(p->name), "site");
	snprintf(p->file, sizeof(p->file), POLICY_SITE);
	ret = load_file(p, dir, "site.ini", options, error);
	close(dir);
	return ret;
}

static int shipped_directory(char *to, size_t room)
{
	struct dolania_paths paths;
	char *slash;

	if (dolania_locate(&paths) < 0)
		return -1;
	slash = strrchr(paths.images, '/');
	if (slash == NULL)
		return -1;
	*slash = '\0';
	return (size_t)snprintf(to, room, "%s/policies", paths.images) < room ? 0 : -1;
}

/* `by_key`: a file named it, with 'like' or 'default', which take no path. */
static int unknown_name(const char *name, bool by_key, char *error)
{
	size_t count;
	char **names = policy_names(&count), known[256] = "none";
	const char *like = names != NULL ? nearest(name, (const char *const *)names) : NULL;
	size_t used = 0;

	for (size_t i = 0; i < count && used < sizeof(known); i++)
		used += (size_t)snprintf(known + used, sizeof(known) - used, "%s%s", i > 0 ? ", " : "", names[i]);
	if (like != NULL)
		wrong(error, "unknown policy '%s'; did you mean '%s'? (there are: %s)", name, like, known);
	else
		wrong(error, "unknown policy '%s'; there are: %s%s", name, known,
		      by_key ? "" : "; or the path of a file (with a '/' in it)");
	free(names);
	return -1;
}

static int load_named(struct dolania_policy *p, const char *name, bool by_key, const char *const *options, char *error)
{
	char entry[80];
	int dir, ret;

	if (name[0] == '\0' || name[0] == '.' || strlen(name) >= sizeof(p->like))
		return unknown_name(name, by_key, error);
	snprintf(entry, sizeof(entry), "%s" SUFFIX, name);
	dir = open_site(p, SITE_POLICIES, error);
	if (dir == -2)
		return -1;
	if (dir >= 0 && faccessat(dir, entry, F_OK, AT_SYMLINK_NOFOLLOW) == 0) {
		snprintf(p->file, sizeof(p->file), SITE_POLICIES "/%s", entry);
		ret = load_file(p, dir, entry, options, error);
		close(dir);
		return ret;
	}
	fd_close(&dir);
	if (shipped_directory(p->file, sizeof(p->file) - sizeof(entry) - 1) < 0) {
		p->host_failed = true;
		return wrong(error, "cannot find out where dolania is installed (/proc/self/exe); mount /proc");
	}
	snprintf(p->file + strlen(p->file), sizeof(entry) + 1, "/%s", entry);
	if (access(p->file, F_OK) == 0)
		return load_file(p, AT_FDCWD, p->file, options, error);
	if (errno != ENOENT)
		return failed(p, error, p->file);
	if (strcmp(name, "standard") == 0)
		return wrong(error, "%s is missing; 'make build' puts it there", p->file);
	return unknown_name(name, by_key, error);
}

static int load_one(struct dolania_policy *p, const char *name, bool by_key, const char *const *options, char *error)
{
	memset(p, 0, sizeof(*p));
	error[0] = '\0';
	snprintf(p->name, sizeof(p->name), "%s", name);
	if (strchr(name, '/') == NULL)
		return load_named(p, name, by_key, options, error);
	if ((size_t)snprintf(p->file, sizeof(p->file), "%s", name) >= sizeof(p->file))
		return wrong(error, "--policy: the path is too long");
	return load_file(p, AT_FDCWD, name, options, error);
}

/* What `p` leaves out, as `from` has it. */
static void inherit(struct dolania_policy *p, const struct dolania_policy *from)
{
	for (unsigned k = 0; k < POLICY_KEYS; k++) {
		if (p->declared[k] || !from->declared[k])
			continue;
		p->declared[k] = true;
		switch (k) {
		case POLICY_LIKE: case POLICY_DEFAULT: break;
		case POLICY_RUNTIMES: p->runtimes = from->runtimes; break;
		case POLICY_OPTIONS: p->options = from->options; break;
		case POLICY_RAISE: p->raise = from->raise; break;
		case POLICY_EXECUTE: p->image_only = from->image_only; break;
		case POLICY_KILL_OUTPUT: p->kill_output = from->kill_output; break;
		case POLICY_KILL_EVENTS:
			p->kill_severity = from->kill_severity;
			p->kill_kinds = from->kill_kinds;
			break;
		default: p->limit[k] = from->limit[k]; break;
		}
	}
}

/*
 * One vCPU: its time cannot get ahead of the clock.  Who wrote such a cpu-time meant
 * something else; one that is only inherited does no harm under a shorter wall.
 */
static int check_times(const struct dolania_policy *p, char *error)
{
	const struct setting *wall = setting_get(SETTING_WALL), *cpu = setting_get(SETTING_CPU_TIME);
	const uint64_t w = p->limit[SETTING_WALL], c = p->limit[SETTING_CPU_TIME];
	char cpu_text[32], wall_text[32];

	if (p->line[SETTING_CPU_TIME] == 0 || c == 0 || w == 0 || !setting_is_looser(cpu, c, w))
		return 0;
	return wrong(error, "%s:%u: cpu-time = %s could never be reached with wall = %s; lower it, or write off", p->file,
		     p->line[SETTING_CPU_TIME], setting_format(cpu, c, cpu_text, sizeof(cpu_text)),
		     setting_format(wall, w, wall_text, sizeof(wall_text)));
}

static int check_whole(const struct dolania_policy *p, char *error)
{
	for (unsigned k = 0; k < POLICY_KEYS; k++)
		if (!p->declared[k] && k != POLICY_LIKE && k != POLICY_DEFAULT)
			return wrong(error, "%s: %s under [%s] is not declared; add it, or 'like = standard' under [policy]",
				     p->file, policy_key_name(k), policy_key_section(k));
	return check_times(p, error);
}

/* What the error says of another policy, told where `key` of this one names it. */
static int blame(const struct dolania_policy *p, enum policy_key key, char *error)
{
	char why[DOLANIA_LINE];

	memcpy(why, error, sizeof(why));
	return wrong(error, "%s:%u: %s: %s", p->file, p->line[key], policy_key_name(key), why);
}

static int load_whole(struct dolania_policy *p, const char *name, bool by_key, const char *const *options, char *error)
{
	struct dolania_policy *base;
	char like[sizeof(p->like)];
	int ret = load_one(p, name, by_key, options, error);

	if (ret < 0)
		return -1;
	base = malloc(sizeof(*base));
	if (base == NULL)
		return failed(p, error, p->file);
	snprintf(like, sizeof(like), "%s", p->like);
	for (unsigned n = 0; ret == 0 && like[0] != '\0'; n++) {
		if (n == POLICY_LIKE_MAX) {
			ret = wrong(error, "%s:%u: like = %s: more than %d policies that are like one another", p->file,
				    p->line[POLICY_LIKE], p->like, POLICY_LIKE_MAX);
			break;
		}
		ret = load_one(base, like, true, options, error);
		if (ret == 0)
			ret = check_times(base, error);
		if (ret < 0) {
			p->host_failed = base->host_failed;
			if (n == 0)
				(void)blame(p, POLICY_LIKE, error);
			break;
		}
		inherit(p, base);
		snprintf(like, sizeof(like), "%s", base->like);
	}
	free(base);
	return ret == 0 ? check_whole(p, error) : -1;
}

int policy_load(struct dolania_policy *p, const char *name, const struct dolania_policy *site,
		const char *const *options, char *error)
{
	if (name != NULL)
		return load_whole(p, name, false, options, error);
	if (site->standard_name[0] == '\0')
		return load_whole(p, "standard", false, options, error);
	if (load_whole(p, site->standard_name, true, options, error) == 0)
		return 0;
	return blame(site, POLICY_DEFAULT, error);
}

bool policy_is_sites(const char *path)
{
	struct stat it, sites;

	return strchr(path, '/') != NULL && stat(path, &it) == 0 && stat(POLICY_SITE, &sites) == 0 &&
	       it.st_dev == sites.st_dev && it.st_ino == sites.st_ino;
}

static int is_policy(const struct dirent *d)
{
	size_t n = strlen(d->d_name);

	return d->d_name[0] != '.' && n > sizeof(SUFFIX) - 1 && n < 64 &&
	       strcmp(d->d_name + n - (sizeof(SUFFIX) - 1), SUFFIX) == 0;
}

static int by_name(const void *a, const void *b)
{
	return strcmp(*(char *const *)a, *(char *const *)b);
}

char **policy_names(size_t *count)
{
	enum { MOST = 64, NAME_BYTES = 64 };
	char **names = calloc(1, (MOST + 1) * sizeof(*names) + MOST * NAME_BYTES), shipped[4096];
	const char *directories[2] = { SITE_POLICIES, shipped };
	char *text = (char *)(names + MOST + 1);

	*count = 0;
	if (names == NULL)
		return NULL;
	if (shipped_directory(shipped, sizeof(shipped)) < 0)
		shipped[0] = '\0';
	for (unsigned i = 0; i < 2; i++) {
		struct dirent **found;
		int n = scandir(directories[i], &found, is_policy, NULL);

		for (int k = 0; k < n; k++) {
			size_t have = 0;
			char name[NAME_BYTES];

			snprintf(name, sizeof(name), "%.*s", (int)(strlen(found[k]->d_name) - (sizeof(SUFFIX) - 1)),
				 found[k]->d_name);
			free(found[k]);
			while (have < *count && strcmp(names[have], name) != 0)
				have++;
			if (have < *count || *count == MOST)
				continue;
			names[*count] = text + *count * NAME_BYTES;
			snprintf(names[(*count)++], NAME_BYTES, "%s", name);
		}
		if (n >= 0)
			free(found);
	}
	qsort(names, *count, sizeof(*names), by_name);
	return names;
}
