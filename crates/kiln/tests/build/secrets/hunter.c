// Looks for secrets in every place that a command of a build could try, and prints a line for each it finds:
// `hunter: found SECRET in PLACE`, or `hunter: reached WHAT` for something that would let it find more; `hunter: done` at the end.
//
//   hunter PATH... @NAME...   the paths of files with secrets outside, abstract sockets that would tell one
//   hunter plant COMMAND...   leaves secrets where a careless builder would hand them on, and becomes the command
//
// A secret is a word that begins with five letters which this program holds in disguise, to not find itself.
#define _GNU_SOURCE
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <ftw.h>
#include <signal.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <sys/ptrace.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/sysmacros.h>
#include <sys/uio.h>
#include <sys/un.h>
#include <unistd.h>

#define MOST (64 << 20)
#define MOST_PID 70000

static char plain[8] = "L@QJ^", encoded[8] = "STERR0";
static char **paths;

static void undisguise(void) {
    for (char *c = plain; *c; c++) *c += 1;
    for (char *c = encoded; *c; c++) *c += 1;
}

static void scan(const char *bytes, size_t length, const char *place) {
    const char *wanted[] = {plain, encoded};
    for (int i = 0; i < 2; i++) {
        const char *from = bytes, *end = bytes + length;
        while (from < end && (from = memmem(from, end - from, wanted[i], strlen(wanted[i])))) {
            const char *to = from;
            while (to < end && to - from < 60 && (*to == '_' || (*to >= '0' && *to <= '9') || (*to >= 'A' && *to <= 'Z') || (*to >= 'a' && *to <= 'z'))) to++;
            printf("hunter: found %.*s in %s\n", (int)(to - from), from, place);
            from = to;
        }
    }
}

static void scan_fd(int fd, const char *place) {
    static char *buffer;
    if (!buffer) buffer = malloc(MOST);
    size_t length = 0;
    ssize_t n;
    while (length < MOST && (n = read(fd, buffer + length, MOST - length)) > 0) length += n;
    scan(buffer, length, place);
}

static void scan_at(int dir, const char *path, const char *place) {
    int fd = openat(dir, path, O_RDONLY | O_NONBLOCK | O_CLOEXEC);
    if (fd < 0) return;
    struct stat st;
    if (fstat(fd, &st) == 0 && !S_ISDIR(st.st_mode)) scan_fd(fd, place);
    close(fd);
}

// The secrets outside, from a directory that might be outside.
static void outside(int dir, const char *place) {
    char up[4096];
    for (char **path = paths; *path; path++) {
        if (**path != '/') continue;
        scan_at(dir, *path + 1, place);
        snprintf(up, sizeof up, "../../../../../../../../../..%s", *path);
        scan_at(dir, up, place);
    }
}

// With one user id a device is kept as an empty file that only says that it is one: the kernel counts what is left to
// read of files, never of devices.
static int stands_in(int fd) {
    int left = -1;
    char byte;
    return ioctl(fd, FIONREAD, &left) == 0 && left == 0 && read(fd, &byte, 1) == 0;
}

static int visit(const char *path, const struct stat *st, int type, struct FTW *at) {
    (void)at;
    if (!strcmp(path, "/proc") || !strcmp(path, "/sys")) return FTW_SKIP_SUBTREE;
    scan(path, strlen(path), "a name");
    if (type == FTW_SL) {
        char target[4096];
        ssize_t n = readlink(path, target, sizeof target);
        if (n > 0) scan(target, n, path);
    } else if (type == FTW_F && S_ISREG(st->st_mode)) {
        scan_at(AT_FDCWD, path, path);
    } else if (type == FTW_F && (S_ISBLK(st->st_mode) || S_ISCHR(st->st_mode))) {
        const char *usual[] = {"null", "zero", "full", "random", "urandom", "tty", "ptmx"};
        const char *name = strrchr(path, '/') + 1;
        for (size_t i = 0; i < sizeof usual / sizeof *usual; i++)
            if (!strcmp(name, usual[i])) return FTW_CONTINUE;
        int fd = open(path, O_RDONLY | O_NONBLOCK | O_CLOEXEC);
        if (fd >= 0 && !stands_in(fd)) printf("hunter: reached the device %s\n", path);
        if (fd >= 0) close(fd);
    }
    return FTW_CONTINUE;
}

static void processes(void) {
    DIR *proc = opendir("/proc");
    struct dirent *entry;
    char path[512], target[4096];
    while (proc && (entry = readdir(proc))) {
        if (entry->d_name[0] < '0' || entry->d_name[0] > '9') continue;
        const char *files[] = {"environ", "cmdline", "maps", "mountinfo", "stack", "comm"};
        for (size_t i = 0; i < sizeof files / sizeof *files; i++) {
            snprintf(path, sizeof path, "/proc/%s/%s", entry->d_name, files[i]);
            scan_at(AT_FDCWD, path, path);
        }
        const char *links[] = {"root", "cwd", "exe"};
        for (size_t i = 0; i < sizeof links / sizeof *links; i++) {
            snprintf(path, sizeof path, "/proc/%s/%s", entry->d_name, links[i]);
            int fd = open(path, O_PATH | O_DIRECTORY | O_CLOEXEC);
            if (fd >= 0) outside(fd, path), close(fd);
        }
        snprintf(path, sizeof path, "/proc/%s/fd", entry->d_name);
        DIR *fds = opendir(path);
        struct dirent *one;
        while (fds && (one = readdir(fds))) {
            snprintf(path, sizeof path, "/proc/%s/fd/%s", entry->d_name, one->d_name);
            ssize_t n = readlink(path, target, sizeof target);
            if (n > 0) scan(target, n, path);
            struct stat st;
            if (stat(path, &st) == 0 && S_ISREG(st.st_mode)) scan_at(AT_FDCWD, path, path);
            if (stat(path, &st) == 0 && S_ISDIR(st.st_mode)) {
                int fd = open(path, O_PATH | O_CLOEXEC);
                if (fd >= 0) outside(fd, path), close(fd);
            }
        }
        if (fds) closedir(fds);
    }
    if (proc) closedir(proc);
    scan_at(AT_FDCWD, "/proc/keys", "/proc/keys");
    scan_at(AT_FDCWD, "/proc/1/environ", "/proc/1/environ");
}

static void memory(void) {
    for (pid_t pid = 1; pid < MOST_PID; pid++) {
        if (pid == getpid() || (kill(pid, 0) != 0 && errno == ESRCH)) continue;
        if (ptrace(PTRACE_SEIZE, pid, 0, 0) == 0) printf("hunter: reached process %d by ptrace\n", pid);
        char byte;
        struct iovec here = {&byte, 1}, there = {(void *)4096, 1};
        if (process_vm_readv(pid, &here, 1, &there, 1, 0) == 1 || errno == EFAULT)
            printf("hunter: reached the memory of process %d\n", pid);
        int handle = syscall(SYS_pidfd_open, pid, 0);
        if (handle < 0) continue;
        int fd = syscall(SYS_pidfd_getfd, handle, 0, 0);
        if (fd >= 0) printf("hunter: reached a descriptor of process %d\n", pid), close(fd);
        close(handle);
    }
}

static void descriptors(void) {
    for (int fd = 0; fd < 1024; fd++) {
        struct stat st;
        if (fstat(fd, &st) != 0) continue;
        char place[64];
        snprintf(place, sizeof place, "descriptor %d", fd);
        if (S_ISDIR(st.st_mode)) {
            printf("hunter: reached a directory by %s\n", place);
            outside(fd, place);
        }
        if (fd > 2) printf("hunter: reached %s, which was inherited\n", place);
        if (fd > 2 && S_ISREG(st.st_mode)) lseek(fd, 0, SEEK_SET), scan_fd(fd, place);
    }
}

static void keys(void) {
    char text[4096];
    for (int ring = -1; ring >= -8; ring--) {
        long key = syscall(SYS_keyctl, 10, ring, "user", "hunted", 0);
        if (key < 0) continue;
        long n = syscall(SYS_keyctl, 11, key, text, sizeof text);
        if (n > 0) scan(text, n < (long)sizeof text ? n : (long)sizeof text, "a keyring");
    }
    long key = syscall(SYS_request_key, "user", "hunted", 0, 0);
    if (key >= 0) {
        long n = syscall(SYS_keyctl, 11, key, text, sizeof text);
        if (n > 0) scan(text, n < (long)sizeof text ? n : (long)sizeof text, "a requested key");
    }
}

static void sockets(void) {
    for (char **name = paths; *name; name++) {
        if (**name != '@') continue;
        struct sockaddr_un address = {.sun_family = AF_UNIX};
        size_t length = strlen(*name);
        memcpy(address.sun_path + 1, *name + 1, length - 1);
        int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
        if (connect(fd, (struct sockaddr *)&address, offsetof(struct sockaddr_un, sun_path) + length) == 0) {
            printf("hunter: reached the abstract socket %s\n", *name);
            scan_fd(fd, *name);
        }
        close(fd);
    }
}

static void devices(void) {
    const unsigned nodes[][3] = {{S_IFBLK, 254, 0}, {S_IFBLK, 253, 0}, {S_IFBLK, 7, 0}, {S_IFBLK, 8, 0},
        {S_IFBLK, 259, 0}, {S_IFCHR, 1, 1}, {S_IFCHR, 1, 2}, {S_IFCHR, 1, 4}, {S_IFCHR, 1, 11}, {S_IFCHR, 10, 237}};
    const char *places[] = {"/hunted-node", "/dev/hunted-node", "/dev/shm/hunted-node", "/cache/hunted-node"};
    for (size_t i = 0; i < sizeof nodes / sizeof *nodes; i++) {
        for (size_t j = 0; j < sizeof places / sizeof *places; j++) {
            if (mknod(places[j], nodes[i][0] | 0600, makedev(nodes[i][1], nodes[i][2])) != 0) continue;
            int fd = open(places[j], O_RDONLY | O_NONBLOCK | O_CLOEXEC);
            if (fd >= 0 && !stands_in(fd))
                printf("hunter: reached the device %u:%u at %s\n", nodes[i][1], nodes[i][2], places[j]);
            if (fd >= 0) close(fd);
            unlink(places[j]);
        }
    }
}

static void escape(void) {
    mkdir("/hunted-dir", 0700);
    int out = open("/", O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    if (chroot("/hunted-dir") == 0) {
        fchdir(out);
        for (int i = 0; i < 64; i++) chdir("..");
        chroot(".");
        int root = open("/", O_PATH | O_DIRECTORY | O_CLOEXEC);
        outside(root, "the other side of a chroot");
    }
    rmdir("/hunted-dir");
}

static void plant(char **command) {
    char secret[64];
    snprintf(secret, sizeof secret, "%skey", plain);
    // The keyring of this session, as a login or a build service has one.
    syscall(SYS_keyctl, 1, NULL);
    long key = syscall(SYS_add_key, "user", "hunted", secret, strlen(secret), -3);
    // The filters of pods refuse keyrings altogether.
    if (key < 0 && errno != EPERM) perror("add_key"), exit(1);
    if (key >= 0 && syscall(SYS_keyctl, 5, syscall(SYS_keyctl, 10, -3, "user", "hunted", 0), 0x3f3f3f3f) < 0) perror("keyctl"), exit(1);
    int fd = memfd_create("careless", 0);
    dprintf(fd, "%sdescriptor", plain);
    open("/", O_RDONLY | O_DIRECTORY);
    execvp(command[0], command);
    perror(command[0]);
    exit(1);
}

int main(int argc, char **argv) {
    undisguise();
    if (argc > 2 && !strcmp(argv[1], "plant")) plant(argv + 2);
    setvbuf(stdout, NULL, _IOLBF, 0);
    paths = argv + 1;
    descriptors();
    for (char **variable = environ; *variable; variable++) scan(*variable, strlen(*variable), "the environment");
    for (char **path = paths; *path; path++)
        if (**path == '/') scan_at(AT_FDCWD, *path, *path);
    nftw("/", visit, 64, FTW_PHYS | FTW_ACTIONRETVAL);
    processes();
    keys();
    sockets();
    devices();
    memory();
    escape();
    puts("hunter: done");
    return 0;
}
