/* A power cut for one process, without root: Linux, glibc, loaded with LD_PRELOAD.
 *
 * What the process does to files below SHIM_ROOT is done, and noted besides. A flush of a file
 * makes the noted changes of its contents certain, a flush of a folder those of the names in it.
 * At the event numbered SHIM_CUT_AT the process dies with status 137, and below SHIM_AFTER appears
 * the disk as it is after the power came back: what was certain, and of the rest so many in a
 * hundred 512-byte sectors and the beginning of the list of names, as chance has it. Its last words
 * on standard error say what it was doing.
 *
 *   SHIM_ROOT     folder that is watched, an absolute path
 *   SHIM_AFTER    folder that must not be there; made at the cut
 *   SHIM_EXE      end of the path of the program that is meant; children of it are left alone
 *   SHIM_CUT_AT   number of the event: a write, a flush or a change of names; 0: none
 *   SHIM_CUT      file that is waited for: it holds the number of events until the cut
 *   SHIM_KEEP     how many of a hundred unflushed sectors are there afterwards
 *   SHIM_SEED     where chance begins
 *   SHIM_LIE      end of the names, when they were opened, of files whose flushes do nothing: a
 *                 fault for the shim's test
 *   SHIM_ROOM     file with the number of bytes that files may still grow by, read again when they
 *                 are used up: beyond it writes fail with ENOSPC
 *
 * It does not see memory maps, O_DIRECT, raw system calls, or descriptors that were duplicated.
 */
#define _GNU_SOURCE
#include <dirent.h>
#include <dlfcn.h>
#include <errno.h>
#include <fcntl.h>
#include <pthread.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/statvfs.h>
#include <sys/types.h>
#include <sys/uio.h>
#include <unistd.h>

#define MOST_FDS 4096
#define SECTOR 512

/* A change of a file's contents that is not certain yet: bytes at a place, or a new length. */
struct change {
    off_t at;
    size_t len;
    char *bytes;
    struct change *next;
};

/* A file, whatever it is called. */
struct file {
    char *certain;
    size_t certain_len, certain_room;
    struct change *first, *last;
    struct file *next;
};

/* A name and what it stands for; a folder has no file. */
struct name {
    char path[512];
    struct file *file;
    struct name *next;
};

/* A change of names that is not certain yet. */
struct renaming {
    enum { MADE, MOVED, GONE } what;
    char path[512], to[512];
    struct file *file;
    int certain;
    struct renaming *next;
};

static const char *root, *after, *lie, *room_file, *cut_file;
static size_t root_len;
static long cut_at, events, room, room_given;
static int keep, watching;
static unsigned seed;
static struct file *files;
static struct name *seen, *certain_names;
static struct renaming *first_renaming, *last_renaming;
static struct { struct file *file; char path[512]; } fds[MOST_FDS];
static pthread_mutex_t lock = PTHREAD_MUTEX_INITIALIZER;

#define REAL(type, name, ...)                              \
    static type (*real_##name)(__VA_ARGS__);               \
    if (!real_##name) real_##name = dlsym(RTLD_NEXT, #name)

/* The watched path of `path`, seen from the folder behind `at`; NULL: it is not watched. */
static const char *watched(int at, const char *path, char *whole) {
    if (!watching) return NULL;
    if (path[0] == '/' || at == AT_FDCWD) {
        if (path[0] == '/') snprintf(whole, 512, "%s", path);
        else {
            char here[256];
            if (!getcwd(here, sizeof here)) return NULL;
            snprintf(whole, 512, "%s/%s", here, path);
        }
    } else if (at >= 0 && at < MOST_FDS && fds[at].path[0]) {
        snprintf(whole, 512, "%.250s/%.250s", fds[at].path, path);
    } else return NULL;
    size_t len = strlen(whole);
    while (len > 1 && (whole[len - 1] == '/' ||
                       (whole[len - 1] == '.' && whole[len - 2] == '/'))) whole[--len] = 0;
    if (strncmp(whole, root, root_len) || (whole[root_len] && whole[root_len] != '/')) return NULL;
    return whole;
}

static struct name *find(struct name *list, const char *path) {
    while (list && strcmp(list->path, path)) list = list->next;
    return list;
}

static void set_name(struct name **list, const char *path, struct file *file) {
    struct name *name = find(*list, path);
    if (!name) {
        name = calloc(1, sizeof *name);
        snprintf(name->path, sizeof name->path, "%s", path);
        name->next = *list;
        *list = name;
    }
    name->file = file;
}

static void unset_name(struct name **list, const char *path) {
    for (; *list; list = &(*list)->next)
        if (!strcmp((*list)->path, path)) {
            struct name *gone = *list;
            *list = gone->next;
            free(gone);
            return;
        }
}

static struct file *new_file(void) {
    struct file *file = calloc(1, sizeof *file);
    file->next = files;
    files = file;
    return file;
}

static void set_certain(struct file *file, off_t at, const char *bytes, size_t len) {
    size_t end = at + len;
    if (end > file->certain_room) {
        file->certain_room = end * 2;
        file->certain = realloc(file->certain, file->certain_room);
    }
    if ((size_t)at > file->certain_len)
        memset(file->certain + file->certain_len, 0, at - file->certain_len);
    if (len) memcpy(file->certain + at, bytes, len);
    if (end > file->certain_len) file->certain_len = end;
}

static void set_certain_len(struct file *file, size_t len) {
    if (len > file->certain_len) set_certain(file, len, NULL, 0);
    file->certain_len = len;
}

/* Makes changes certain: all of them, or at a cut some of them. */
static void settle(struct file *file, int percent) {
    struct change *change = file->first;
    while (change) {
        if (!change->bytes) {
            if ((int)(rand_r(&seed) % 100) < percent) set_certain_len(file, change->at);
        } else {
            size_t done = 0;
            while (done < change->len) {
                size_t part = SECTOR - (change->at + done) % SECTOR;
                if (part > change->len - done) part = change->len - done;
                if ((int)(rand_r(&seed) % 100) < percent)
                    set_certain(file, change->at + done, change->bytes + done, part);
                done += part;
            }
        }
        struct change *gone = change;
        change = change->next;
        free(gone->bytes);
        free(gone);
    }
    file->first = file->last = NULL;
}

static void apply(struct renaming *renaming) {
    switch (renaming->what) {
    case MADE: set_name(&certain_names, renaming->path, renaming->file); break;
    case GONE: unset_name(&certain_names, renaming->path); break;
    case MOVED: {
        struct name *old = find(certain_names, renaming->path);
        if (old && old->file == renaming->file) unset_name(&certain_names, renaming->path);
        set_name(&certain_names, renaming->to, renaming->file);
    }
    }
    renaming->certain = 1;
}

static int within(const char *path, const char *folder) {
    const char *slash = strrchr(path, '/');
    return slash && (size_t)(slash - path) == strlen(folder) && !strncmp(path, folder, slash - path);
}

/* A flush of a folder: the names in it are certain. */
static void settle_names(const char *folder) {
    for (struct renaming *r = first_renaming; r; r = r->next)
        if (!r->certain && (within(r->path, folder) || (r->what == MOVED && within(r->to, folder))))
            apply(r);
}

static void put_down(const char *path, const char *bytes, size_t len) {
    REAL(int, open64, const char *, int, ...);
    REAL(ssize_t, pwrite64, int, const void *, size_t, off_t);
    int fd = real_open64(path, O_WRONLY | O_CREAT | O_TRUNC, 0600);
    size_t done = 0;
    while (fd >= 0 && done < len) {
        ssize_t wrote = real_pwrite64(fd, bytes + done, len - done, done);
        if (wrote <= 0) break;
        done += wrote;
    }
}

/* The power goes. */
static void cut(const char *when, const char *path) {
    REAL(int, mkdir, const char *, mode_t);
    long open = 0;
    for (struct renaming *r = first_renaming; r; r = r->next) open += !r->certain;
    long kept = keep >= 100 ? open : keep <= 0 ? 0 : rand_r(&seed) % (open + 1);
    for (struct renaming *r = first_renaming; r && kept; r = r->next)
        if (!r->certain) { apply(r); kept--; }
    for (struct file *file = files; file; file = file->next) settle(file, keep);
    real_mkdir(after, 0700);
    /* Shorter paths first, so that folders come before what is in them. */
    for (size_t len = root_len + 1; len < 512; len++)
        for (struct name *name = certain_names; name; name = name->next) {
            if (strlen(name->path) != len) continue;
            char path[1100];
            snprintf(path, sizeof path, "%s%s", after, name->path + root_len);
            if (name->file) put_down(path, name->file->certain, name->file->certain_len);
            else real_mkdir(path, 0700);
        }
    dprintf(2, "power cut %s of %s\n", when, path + root_len);
    _exit(137);
}

/* What an open file or folder is called now. */
static const char *name_of(int fd) {
    for (struct name *name = seen; name; name = name->next)
        if (fds[fd].file && name->file == fds[fd].file) return name->path;
    return fds[fd].path;
}

/* Looks for the file that says when to cut. */
static void look_for_cut(void) {
    FILE *given = fopen(cut_file, "re");
    long left = 0;
    if (!given) return;
    if (fscanf(given, "%ld", &left) == 1 && left > 0) {
        cut_at = events + left;
        cut_file = NULL;
    }
    fclose(given);
}

static void event(const char *what, const char *path) {
    if (cut_file) look_for_cut();
    if (++events == cut_at) cut(what, path);
}

static void note(struct file *file, off_t at, const void *bytes, size_t len) {
    struct change *change = calloc(1, sizeof *change);
    change->at = at;
    change->len = len;
    if (bytes) {
        change->bytes = malloc(len ? len : 1);
        memcpy(change->bytes, bytes, len);
    }
    if (file->last) file->last->next = change; else file->first = change;
    file->last = change;
}

static void note_name(int what, const char *path, const char *to, struct file *file) {
    struct renaming *r = calloc(1, sizeof *r);
    r->what = what;
    snprintf(r->path, sizeof r->path, "%s", path);
    if (to) snprintf(r->to, sizeof r->to, "%s", to);
    r->file = file;
    if (last_renaming) last_renaming->next = r; else first_renaming = r;
    last_renaming = r;
}

/* Looks again how much room there is. */
static void look_for_room(void) {
    FILE *given = fopen(room_file, "re");
    long now = 0;
    if (given) {
        if (fscanf(given, "%ld", &now) != 1) now = 0;
        fclose(given);
    }
    room += now - room_given;
    room_given = now;
}

/* Bytes a file may grow by, of `more`. */
static size_t grow(size_t more) {
    if (!room_file) return more;
    if ((long)more > room) look_for_room();
    if ((long)more > room) more = room > 0 ? room : 0;
    room -= more;
    return more;
}

/* Writes, and notes what was written; at an offset, or where the file stands. */
static ssize_t write_at(int fd, const void *bytes, size_t len, off_t at, int moves) {
    REAL(ssize_t, pwrite64, int, const void *, size_t, off_t);
    struct file *file = fds[fd].file;
    struct stat found;
    fstat(fd, &found);
    if (moves) at = fcntl(fd, F_GETFL) & O_APPEND ? found.st_size : lseek(fd, 0, SEEK_CUR);
    size_t in_place = at < found.st_size ? found.st_size - at : 0;
    if (len > in_place) {
        size_t more = grow(len - in_place);
        if (!in_place && !more && len) { errno = ENOSPC; return -1; }
        len = in_place + more;
    }
    ssize_t wrote = real_pwrite64(fd, bytes, len, at);
    if (wrote > 0) {
        note(file, at, bytes, wrote);
        if (moves) lseek(fd, at + wrote, SEEK_SET);
    }
    event("after a write", name_of(fd));
    return wrote;
}

static int is_watched(int fd) { return fd >= 0 && fd < MOST_FDS && fds[fd].file; }

static ssize_t some_write(int fd, const void *bytes, size_t len, off_t at, int moves) {
    pthread_mutex_lock(&lock);
    ssize_t wrote = write_at(fd, bytes, len, at, moves);
    int error = errno;
    pthread_mutex_unlock(&lock);
    errno = error;
    return wrote;
}

static void learn(const char *folder) {
    DIR *entries = opendir(folder);
    for (struct dirent *entry; entries && (entry = readdir(entries));) {
        if (!strcmp(entry->d_name, ".") || !strcmp(entry->d_name, "..")) continue;
        char path[512];
        struct stat found;
        snprintf(path, sizeof path, "%.255s/%.255s", folder, entry->d_name);
        if (stat(path, &found)) continue;
        struct file *file = NULL;
        if (S_ISDIR(found.st_mode)) learn(path);
        else {
            file = new_file();
            FILE *in = fopen(path, "re");
            char block[4096];
            size_t at = 0, read;
            while (in && (read = fread(block, 1, sizeof block, in))) {
                set_certain(file, at, block, read);
                at += read;
            }
            if (in) fclose(in);
        }
        set_name(&seen, path, file);
        set_name(&certain_names, path, file);
    }
    if (entries) closedir(entries);
}

static long number(const char *name, long otherwise) {
    const char *value = getenv(name);
    return value ? atol(value) : otherwise;
}

__attribute__((constructor)) static void begin(void) {
    char exe[512] = "";
    const char *wanted = getenv("SHIM_EXE");
    if (readlink("/proc/self/exe", exe, sizeof exe - 1) < 0 || !wanted) return;
    size_t len = strlen(exe), end = strlen(wanted);
    if (len < end || strcmp(exe + len - end, wanted)) return;
    root = getenv("SHIM_ROOT");
    after = getenv("SHIM_AFTER");
    lie = getenv("SHIM_LIE");
    room_file = getenv("SHIM_ROOM");
    cut_file = getenv("SHIM_CUT");
    if (!root || !after) return;
    root_len = strlen(root);
    cut_at = number("SHIM_CUT_AT", 0);
    keep = number("SHIM_KEEP", 50);
    seed = number("SHIM_SEED", 1);
    learn(root);
    watching = 1;
}

static int opened(int fd, const char *path, int flags, int was_there) {
    int error = errno;
    if (fd < 0 || fd >= MOST_FDS || !path) return fd;
    struct stat found;
    pthread_mutex_lock(&lock);
    snprintf(fds[fd].path, sizeof fds[fd].path, "%s", path);
    fds[fd].file = NULL;
    if (!fstat(fd, &found) && S_ISREG(found.st_mode)) {
        struct name *name = find(seen, path);
        if (!name || !was_there) {
            struct file *file = new_file();
            set_name(&seen, path, file);
            note_name(MADE, path, NULL, file);
            name = find(seen, path);
        }
        fds[fd].file = name->file;
        if (was_there && flags & O_TRUNC) note(name->file, 0, NULL, 0);
        if (!was_there || flags & O_TRUNC) event("after an opening", path);
    }
    pthread_mutex_unlock(&lock);
    errno = error;
    return fd;
}

#define OPEN(name)                                                            \
    int name(const char *given, int flags, ...) {                             \
        REAL(int, name, const char *, int, ...);                              \
        va_list rest;                                                         \
        va_start(rest, flags);                                                \
        int mode = va_arg(rest, int);                                         \
        va_end(rest);                                                         \
        char whole[512];                                                      \
        const char *path = watched(AT_FDCWD, given, whole);                   \
        struct stat found;                                                    \
        int was_there = path && !stat(path, &found);                          \
        return opened(real_##name(given, flags, mode), path, flags, was_there); \
    }
OPEN(open)
OPEN(open64)

#define OPENAT(name)                                                          \
    int name(int at, const char *given, int flags, ...) {                     \
        REAL(int, name, int, const char *, int, ...);                         \
        va_list rest;                                                         \
        va_start(rest, flags);                                                \
        int mode = va_arg(rest, int);                                         \
        va_end(rest);                                                         \
        char whole[512];                                                      \
        const char *path = watched(at, given, whole);                         \
        struct stat found;                                                    \
        int was_there = path && !stat(path, &found);                          \
        return opened(real_##name(at, given, flags, mode), path, flags, was_there); \
    }
OPENAT(openat)
OPENAT(openat64)

int close(int fd) {
    REAL(int, close, int);
    if (fd >= 0 && fd < MOST_FDS) {
        fds[fd].file = NULL;
        fds[fd].path[0] = 0;
    }
    return real_close(fd);
}

ssize_t write(int fd, const void *bytes, size_t len) {
    REAL(ssize_t, write, int, const void *, size_t);
    return is_watched(fd) ? some_write(fd, bytes, len, 0, 1) : real_write(fd, bytes, len);
}

ssize_t pwrite64(int fd, const void *bytes, size_t len, off_t at) {
    REAL(ssize_t, pwrite64, int, const void *, size_t, off_t);
    return is_watched(fd) ? some_write(fd, bytes, len, at, 0) : real_pwrite64(fd, bytes, len, at);
}

ssize_t pwrite(int fd, const void *bytes, size_t len, off_t at) {
    return pwrite64(fd, bytes, len, at);
}

static ssize_t write_parts(int fd, const struct iovec *parts, int count, off_t at, int moves) {
    ssize_t all = 0;
    for (int part = 0; part < count; part++) {
        ssize_t wrote = some_write(fd, parts[part].iov_base, parts[part].iov_len, at + all, moves);
        if (wrote < 0) return all ? all : -1;
        all += wrote;
        if ((size_t)wrote < parts[part].iov_len) break;
    }
    return all;
}

ssize_t writev(int fd, const struct iovec *parts, int count) {
    REAL(ssize_t, writev, int, const struct iovec *, int);
    return is_watched(fd) ? write_parts(fd, parts, count, 0, 1) : real_writev(fd, parts, count);
}

ssize_t pwritev64(int fd, const struct iovec *parts, int count, off_t at) {
    REAL(ssize_t, pwritev64, int, const struct iovec *, int, off_t);
    return is_watched(fd) ? write_parts(fd, parts, count, at, 0)
                          : real_pwritev64(fd, parts, count, at);
}

ssize_t pwritev(int fd, const struct iovec *parts, int count, off_t at) {
    return pwritev64(fd, parts, count, at);
}

static int lies_about(const char *path) {
    size_t len = strlen(path), end = lie ? strlen(lie) : 0;
    return end && len >= end && !strcmp(path + len - end, lie);
}

static int flush(int fd) {
    pthread_mutex_lock(&lock);
    event("before a flush", name_of(fd));
    if (!lies_about(fds[fd].path)) {
        if (fds[fd].file) settle(fds[fd].file, 100);
        else settle_names(fds[fd].path);
    }
    pthread_mutex_unlock(&lock);
    return 0;
}

int fsync(int fd) {
    REAL(int, fsync, int);
    return fd >= 0 && fd < MOST_FDS && fds[fd].path[0] ? flush(fd) : real_fsync(fd);
}

int fdatasync(int fd) {
    REAL(int, fdatasync, int);
    return fd >= 0 && fd < MOST_FDS && fds[fd].path[0] ? flush(fd) : real_fdatasync(fd);
}

/* Promises nothing. */
int sync_file_range(int fd, off_t at, off_t len, unsigned flags) {
    REAL(int, sync_file_range, int, off_t, off_t, unsigned);
    return is_watched(fd) ? 0 : real_sync_file_range(fd, at, len, flags);
}

static int set_len(int fd, off_t len) {
    REAL(int, ftruncate64, int, off_t);
    struct stat found;
    pthread_mutex_lock(&lock);
    fstat(fd, &found);
    int done = -1, error = ENOSPC;
    if (len <= found.st_size || grow(len - found.st_size) == (size_t)(len - found.st_size)) {
        done = real_ftruncate64(fd, len);
        error = errno;
        if (!done) note(fds[fd].file, len, NULL, 0);
        event("after a new length", name_of(fd));
    }
    pthread_mutex_unlock(&lock);
    errno = error;
    return done;
}

int ftruncate64(int fd, off_t len) {
    REAL(int, ftruncate64, int, off_t);
    return is_watched(fd) ? set_len(fd, len) : real_ftruncate64(fd, len);
}

int ftruncate(int fd, off_t len) { return ftruncate64(fd, len); }

int fallocate64(int fd, int mode, off_t at, off_t len) {
    REAL(int, fallocate64, int, int, off_t, off_t);
    if (!is_watched(fd)) return real_fallocate64(fd, mode, at, len);
    struct stat found;
    if (mode) { errno = EOPNOTSUPP; return -1; }
    if (!fstat(fd, &found) && at + len <= found.st_size) return 0;
    return set_len(fd, at + len);
}

int fallocate(int fd, int mode, off_t at, off_t len) { return fallocate64(fd, mode, at, len); }

int posix_fallocate64(int fd, off_t at, off_t len) {
    return fallocate64(fd, 0, at, len) ? errno : 0;
}

int posix_fallocate(int fd, off_t at, off_t len) { return posix_fallocate64(fd, at, len); }

static void renamed(const char *from, const char *to) {
    pthread_mutex_lock(&lock);
    struct name *name = find(seen, from);
    if (name) {
        struct file *file = name->file;
        note_name(MOVED, from, to, file);
        unset_name(&seen, from);
        set_name(&seen, to, file);
    }
    event("after a renaming", to);
    pthread_mutex_unlock(&lock);
}

int renameat2(int from_at, const char *from, int to_at, const char *to, unsigned flags) {
    REAL(int, renameat2, int, const char *, int, const char *, unsigned);
    char old[512], new[512];
    const char *old_path = watched(from_at, from, old), *new_path = watched(to_at, to, new);
    int done = real_renameat2(from_at, from, to_at, to, flags);
    if (!done && old_path && new_path) renamed(old_path, new_path);
    return done;
}

int renameat(int from_at, const char *from, int to_at, const char *to) {
    return renameat2(from_at, from, to_at, to, 0);
}

int rename(const char *from, const char *to) {
    return renameat2(AT_FDCWD, from, AT_FDCWD, to, 0);
}

static int removed(int at, const char *given, int flags) {
    REAL(int, unlinkat, int, const char *, int);
    char whole[512];
    const char *path = watched(at, given, whole);
    struct stat found;
    if (path && stat(path, &found)) path = NULL;
    int done = real_unlinkat(at, given, flags);
    if (!done && path) {
        pthread_mutex_lock(&lock);
        if (room_file && S_ISREG(found.st_mode)) room += found.st_size;
        note_name(GONE, path, NULL, NULL);
        unset_name(&seen, path);
        event("after a removal", path);
        pthread_mutex_unlock(&lock);
    }
    return done;
}

int unlink(const char *path) { return removed(AT_FDCWD, path, 0); }
int rmdir(const char *path) { return removed(AT_FDCWD, path, AT_REMOVEDIR); }
int unlinkat(int at, const char *path, int flags) { return removed(at, path, flags); }

int mkdirat(int at, const char *given, mode_t mode) {
    REAL(int, mkdirat, int, const char *, mode_t);
    char whole[512];
    const char *path = watched(at, given, whole);
    int done = real_mkdirat(at, given, mode), error = errno;
    if (!done && path) {
        pthread_mutex_lock(&lock);
        set_name(&seen, path, NULL);
        note_name(MADE, path, NULL, NULL);
        event("after a making", path);
        pthread_mutex_unlock(&lock);
    }
    errno = error;
    return done;
}

int mkdir(const char *path, mode_t mode) { return mkdirat(AT_FDCWD, path, mode); }

int statvfs64(const char *given, struct statvfs64 *found) {
    REAL(int, statvfs64, const char *, struct statvfs64 *);
    char whole[512];
    int done = real_statvfs64(given, found);
    if (!done && room_file && watched(AT_FDCWD, given, whole)) {
        pthread_mutex_lock(&lock);
        look_for_room();
        found->f_bavail = (room < 0 ? 0 : room) / (found->f_frsize ? found->f_frsize : 1);
        pthread_mutex_unlock(&lock);
    }
    return done;
}

int statvfs(const char *given, struct statvfs *found) {
    return statvfs64(given, (struct statvfs64 *)found);
}
