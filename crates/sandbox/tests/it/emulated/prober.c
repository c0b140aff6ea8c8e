// Does what programs do with files, users, programs and signals, and what hostile ones try, and compares what comes of
// it with what the kernel would give root of a container. A line for each difference; `done` in the end.
//
//   prober OUTSIDE     the path of a file of the machine that must not be reached
//   prober say ...     prints its arguments, its path and its user
#define _GNU_SOURCE
#include <errno.h>
#include <fcntl.h>
#include <grp.h>
#include <pthread.h>
#include <sched.h>
#include <signal.h>
#include <spawn.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/ptrace.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/statfs.h>
#include <sys/syscall.h>
#include <sys/sysmacros.h>
#include <sys/time.h>
#include <sys/un.h>
#include <sys/wait.h>
#include <sys/xattr.h>
#include <unistd.h>

extern char **environ;
static int checks;

static void check(int holds, const char *what) {
    checks++;
    if (!holds) printf("wrong: %s (errno %d)\n", what, errno);
    fflush(stdout);
}

static int fails(long result, int with) { return result == -1 && errno == with; }

static int exists(const char *path) { return access(path, F_OK) == 0; }

static void write_file(const char *path, const char *text, int mode) {
    int fd = open(path, O_WRONLY | O_CREAT | O_TRUNC, 0600);
    check(fd >= 0 && write(fd, text, strlen(text)) == (ssize_t)strlen(text), path);
    close(fd);
    chmod(path, mode);
}

static char *read_file(const char *path) {
    static char text[65536];
    int fd = open(path, O_RDONLY);
    ssize_t length = fd < 0 ? -1 : read(fd, text, sizeof text - 1);
    close(fd);
    text[length < 0 ? 0 : length] = 0;
    return text;
}

/// What a program prints.
static char *output_of(char *const argv[]) {
    static char text[1 << 20];
    int ends[2];
    check(pipe(ends) == 0, "pipe");
    pid_t pid = fork();
    if (pid == 0) {
        dup2(ends[1], 1);
        close(ends[0]);
        close(ends[1]);
        execv(argv[0], argv);
        _exit(100 + (errno < 100 ? errno : 99));
    }
    close(ends[1]);
    size_t length = 0;
    ssize_t n;
    while ((n = read(ends[0], text + length, sizeof text - 1 - length)) > 0) length += n;
    close(ends[0]);
    int status;
    waitpid(pid, &status, 0);
    text[length] = 0;
    if (WIFEXITED(status) && WEXITSTATUS(status) >= 100) sprintf(text, "errno %d", WEXITSTATUS(status) - 100);
    return text;
}

static void paths(void) {
    char here[64];
    check(mkdir("/p", 0755) == 0 && mkdir("/p/q", 0755) == 0 && chdir("/p/q") == 0, "directories");
    check(getcwd(here, sizeof here) && !strcmp(here, "/p/q"), "getcwd");
    check(fails((long)syscall(SYS_getcwd, here, 3), ERANGE), "getcwd with little room");
    write_file("../f", "text", 0644);
    check(exists("/p/f") && exists("../../p/f") && exists("../../../../../p/f"), "relative paths stop at the root");
    check(symlink("/p/f", "abs") == 0 && symlink("../f", "rel") == 0 && symlink("../../../../p/f", "up") == 0, "links");
    check(!strcmp(read_file("abs"), "text") && !strcmp(read_file("rel"), "text") && !strcmp(read_file("up"), "text"), "through links");
    check(readlink("abs", here, 3) == 3 && !strncmp(here, "/p/", 3), "a link cut short");
    check(fails(open("abs", O_RDONLY | O_NOFOLLOW), ELOOP), "not through links");
    check(symlink("loop", "loop") == 0 && fails(open("loop", O_RDONLY), ELOOP), "a circle of links");
    check(symlink("made", "to-be-made") == 0 && close(open("to-be-made", O_CREAT | O_WRONLY, 0644)) == 0 && exists("made"), "made through a link");
    check(fails(open("to-be-made", O_CREAT | O_EXCL, 0644), EEXIST), "exclusively");
    check(fails(open("/p/f/", O_RDONLY), ENOTDIR) && fails(open("/p/f/x", O_RDONLY), ENOTDIR), "below a file");
    check(fails(mkdir("/p", 0755), EEXIST) && fails(rmdir("/p"), ENOTEMPTY) && fails(unlink("/p"), EISDIR), "what a directory refuses");
    check(fails(rmdir("."), EINVAL) && fails(rename("/p/q", "/p/q/r"), EINVAL) && fails(rename("/p/f", "/p/q"), EISDIR), "what names refuse");
    check(rename("/p/f", "/p/g") == 0 && !exists("/p/f") && link("/p/g", "/p/h") == 0, "rename and link");
    struct stat one, two;
    check(stat("/p/g", &one) == 0 && stat("/p/h", &two) == 0 && one.st_ino == two.st_ino && one.st_nlink == 2, "two names");
    check(renameat2(AT_FDCWD, "/p/g", AT_FDCWD, "/p/h", RENAME_NOREPLACE) == -1 && errno == EEXIST, "not replaced");
    check(link("abs", "abs2") == 0 && lstat("abs2", &one) == 0 && S_ISLNK(one.st_mode), "a second name of a link");
    int dir = open("/p", O_RDONLY | O_DIRECTORY);
    check(fstatat(dir, "q/../g", &one, 0) == 0 && fstatat(dir, "../p/g", &one, 0) == 0, "from a directory");
    check(fstatat(dir, "../../../p/g", &one, 0) == 0, "from a directory to above the root");
    check(mkdirat(dir, "new/", 0755) == 0 && unlinkat(dir, "new", AT_REMOVEDIR) == 0, "in a directory");
    check(fchdir(dir) == 0 && getcwd(here, sizeof here) && !strcmp(here, "/p"), "fchdir");
    int nameless = open("/p", O_TMPFILE | O_RDWR, 0640);
    check(nameless >= 0 && write(nameless, "x", 1) == 1, "a file without a name");
    sprintf(here, "/proc/self/fd/%d", nameless);
    check(linkat(AT_FDCWD, here, AT_FDCWD, "/p/named", AT_SYMLINK_FOLLOW) == 0 && !strcmp(read_file("/p/named"), "x"), "that gets one");
    char name[300];
    memset(name, 'n', sizeof name);
    name[299] = 0;
    check(fails(open(name, O_CREAT | O_WRONLY, 0644), ENAMETOOLONG), "a long name");
    check(truncate("/p/named", 100) == 0 && stat("/p/named", &one) == 0 && one.st_size == 100, "truncate");
    struct timespec times[2] = {{5, 7}, {1000000000, 123456789}};
    check(utimensat(AT_FDCWD, "/p/named", times, 0) == 0 && stat("/p/named", &one) == 0 && one.st_mtim.tv_nsec == 123456789 && one.st_atime == 5, "times");
    struct timeval old[2] = {{9, 0}, {8, 500000}};
    check(utimes("/p/named", old) == 0 && stat("/p/named", &one) == 0 && one.st_mtim.tv_nsec == 500000000, "times in microseconds");
    check(mkdir("/p/gone", 0755) == 0 && chdir("/p/gone") == 0 && rmdir("/p/gone") == 0 && !getcwd(here, sizeof here) && errno == ENOENT, "a directory that is gone");
    check(chdir("/") == 0 && fails(chdir("/p/named"), ENOTDIR), "chdir");
    umask(027);
    close(open("/p/masked", O_CREAT | O_WRONLY, 0666));
    check(stat("/p/masked", &one) == 0 && (one.st_mode & 07777) == 0640 && umask(022) == 027, "umask");
    struct statfs system;
    check(statfs("/p", &system) == 0 && system.f_bsize > 0, "statfs");
    check(fails(syscall(SYS_inotify_add_watch, 3, "/", 1), ENOSYS), "watches are refused");
}

static void escapes(const char *outside) {
    char path[4096];
    check(!exists(outside), "the machine's file by its path");
    for (int depth = 1; depth < 20; depth++) {
        path[0] = 0;
        for (int i = 0; i < depth; i++) strcat(path, "../");
        strcat(path, outside + 1);
        check(!exists(path), "by dots");
    }
    check(symlink(outside, "/out") == 0 && !exists("/out"), "through a link");
    const char *roots[] = {"/proc/self/root", "/proc/1/root", "/proc/self/cwd/../../../..", "/proc/self/task/1/root",
        "/proc/self/fd/../root", "/proc/thread-self/root", "/dev/fd/../root", "/proc/self/exe/../.."};
    for (size_t i = 0; i < sizeof roots / sizeof *roots; i++) {
        snprintf(path, sizeof path, "%s%s", roots[i], outside);
        check(!exists(path), roots[i]);
        check(open(path, O_RDONLY) < 0, roots[i]);
    }
    snprintf(path, sizeof path, "/proc/%d/root", getppid());
    check(!exists(path), "whoever follows has no root");
    snprintf(path, sizeof path, "/proc/%d/environ", getppid());
    check(open(path, O_RDONLY) < 0, "nor an environment");
    for (int fd = 0; fd < 64; fd++) {
        snprintf(path, sizeof path, "/proc/self/fd/%d/../../../../../../../..%s", fd, outside);
        check(!exists(path), "from a descriptor");
    }
    struct stat root, above;
    check(stat("/", &root) == 0 && stat("/..", &above) == 0 && root.st_ino == above.st_ino, "above the root is the root");
    check(readlink("/proc/self/root", path, sizeof path) == 1 && path[0] == '/', "the root's name");
    ssize_t length = readlink("/proc/self/exe", path, sizeof path - 1);
    path[length < 0 ? 0 : length] = 0;
    check(!strcmp(path, "/bin/prober"), path);
    check(chdir("/p") == 0 && readlink("/proc/self/cwd", path, sizeof path) == 2 && !strncmp(path, "/p", 2), "the directory's name");
    int fd = open("/p/named", O_RDONLY);
    char held[64];
    snprintf(held, sizeof held, "/proc/self/fd/%d", fd);
    length = readlink(held, path, sizeof path - 1);
    path[length < 0 ? 0 : length] = 0;
    check(!strcmp(path, "/p/named"), path);
    check(chdir("/") == 0, "back");
    struct { unsigned long flags, mode, resolve; } how = {O_RDONLY, 0, 0};
    check(syscall(SYS_openat2, AT_FDCWD, outside, &how, sizeof how) == -1, "openat2");
    check(fails(chroot("/p"), EPERM), "chroot");
    check(syscall(SYS_mount, "none", "/p", "tmpfs", 0, 0) == -1 && syscall(SYS_unshare, CLONE_NEWUSER) == -1, "mounts and namespaces");
    check(syscall(425, 8, path) == -1, "io_uring");
    check(syscall(SYS_name_to_handle_at, AT_FDCWD, "/", path, &length, 0) == -1, "handles");
    check(syscall(SYS_open_by_handle_at, AT_FDCWD, path, 0) == -1, "handles again");
    check(fails(syscall(0x40000000 | SYS_open, outside, O_RDONLY), ENOSYS), "calls of another kind");
    check(ptrace(PTRACE_ATTACH, getppid(), 0, 0) == -1, "tracing whoever follows");
    check(fails(open("/proc/kcore", O_RDONLY), EACCES) || errno == ENOENT || errno == EPERM, "kernel memory");
    char *argv[] = {"/bin/prober", "say", NULL};
    check(execv(outside, argv) == -1, "a program of the machine");
}

static void owners(void) {
    struct stat s;
    check(getuid() == 0 && geteuid() == 0 && getgid() == 0, "is root");
    write_file("/o", "x", 0644);
    check(chown("/o", 5, 6) == 0 && stat("/o", &s) == 0 && s.st_uid == 5 && s.st_gid == 6, "chown");
    check(chmod("/o", 06755) == 0 && stat("/o", &s) == 0 && (s.st_mode & 07777) == 06755, "set-id bits");
    check(chown("/o", -1, 7) == 0 && stat("/o", &s) == 0 && (s.st_mode & 07777) == 0755 && s.st_uid == 5, "that a new owner takes");
    check(chmod("/o", 0) == 0 && stat("/o", &s) == 0 && (s.st_mode & 07777) == 0, "no permissions");
    check(!strcmp(read_file("/o"), "x"), "that root does not need");
    int fd = open("/o", O_RDWR);
    check(fd >= 0 && fchmod(fd, 0400) == 0 && fstat(fd, &s) == 0 && (s.st_mode & 07777) == 0400, "fchmod");
    check(fchown(fd, 8, 9) == 0 && fstat(fd, &s) == 0 && s.st_uid == 8, "fchown");
    check(mkdir("/od", 0) == 0 && close(open("/od/f", O_CREAT | O_WRONLY, 0644)) == 0, "in a closed directory");
    check(stat("/od", &s) == 0 && (s.st_mode & 07777) == 0, "that stays closed");
    check(symlink("x", "/ol") == 0 && lchown("/ol", 3, 4) == 0 && lstat("/ol", &s) == 0 && s.st_uid == 3, "of a link");
    check(mkfifo("/of", 0600) == 0 && chown("/of", 3, 4) == 0 && stat("/of", &s) == 0 && s.st_gid == 4 && S_ISFIFO(s.st_mode), "of a pipe");
    check(mknod("/on", S_IFCHR | 0666, makedev(1, 3)) == 0 && stat("/on", &s) == 0 && S_ISCHR(s.st_mode) && s.st_rdev == makedev(1, 3), "a device");
    fd = open("/on", O_RDWR);
    char byte;
    check(fd >= 0 && write(fd, "x", 1) == 1 && read(fd, &byte, 1) == 0, "that works");
    check(mknod("/ob", S_IFBLK | 0600, makedev(8, 0)) == 0 && open("/ob", O_RDONLY) < 0, "one that must not");
    check(mkdir("/os", 0755) == 0 && chown("/os", 0, 50) == 0 && chmod("/os", 02775) == 0 && mkdir("/os/d", 0755) == 0, "a group's directory");
    check(stat("/os/d", &s) == 0 && s.st_gid == 50 && (s.st_mode & 02000), "passes its group on");
    check(setxattr("/o", "user.a", "b", 1, 0) == 0 && setxattr("/o", "security.capability", "\1\0\0\2\0\4\0\0\0\0\0\0\0\0\0\0\0\0\0\0", 20, 0) == 0, "attributes");
    char list[256];
    ssize_t length = listxattr("/o", list, sizeof list);
    int ours = 0;
    for (char *name = list; name < list + length; name += strlen(name) + 1) ours |= strstr(name, "kiln") != NULL;
    check(length > 0 && !ours && getxattr("/o", "user.kiln.owner", list, 10) == -1, "and none of Kiln's");
    check(fails(setxattr("/o", "trusted.x", "y", 1, 0), EPERM), "trusted attributes");
    pid_t pid = fork();
    if (pid == 0) {
        gid_t groups[] = {77, 50};
        check(setgroups(2, groups) == 0 && setresgid(42, 42, 42) == 0 && setresuid(42, 42, 42) == 0, "becomes another");
        check(getuid() == 42 && getegid() == 42 && getgroups(0, NULL) == 2, "is another");
        check(fails(setuid(0), EPERM) && fails(chown("/o", 42, 42), EPERM), "who may not come back");
        check(fails(open("/o", O_RDONLY), EACCES) && fails(open("/new", O_CREAT | O_WRONLY, 0644), EACCES), "nor open what is another's");
        check(close(open("/os/by42", O_CREAT | O_WRONLY, 0644)) == 0 && stat("/os/by42", &s) == 0 && s.st_uid == 42 && s.st_gid == 50, "but what is the group's");
        check(fails(mknod("/os/n", S_IFCHR, makedev(1, 3)), EPERM), "no devices");
        check(fails(chmod("/on", 0), EPERM) && fails(unlink("/on"), EACCES), "nor change it");
        fflush(stdout);
        _exit(0);
    }
    int status;
    check(waitpid(pid, &status, 0) == pid && getuid() == 0, "its parent stays who it is");
    check(chmod("/bin/prober", 04755) == 0 && chown("/bin/prober", 33, 33) == 0 && chmod("/bin/prober", 04755) == 0, "a set-user-id program");
    char *argv[] = {"/bin/prober", "say", NULL};
    check(strstr(output_of(argv), "user 0 33") != NULL, "runs as its owner");
    check(chown("/bin/prober", 0, 0) == 0 && chmod("/bin/prober", 0755) == 0, "and back");
}

static void *exec_in_thread(void *unused) {
    (void)unused;
    char *argv[] = {"/bin/prober", "say", "thread", NULL};
    execv(argv[0], argv);
    return NULL;
}

static void programs(void) {
    char *say[] = {"/bin/prober", "say", "a", "", "b c", NULL};
    check(!strcmp(output_of(say), "path /bin/prober user 0 0 name prober: a,,b c\n"), output_of(say));
    write_file("/script", "#!/bin/prober say -x\nrest\n", 0755);
    char *script[] = {"/script", "one", "two", NULL};
    check(strstr(output_of(script), ": -x,") == NULL && strstr(output_of(script), "one,two") != NULL, output_of(script));
    write_file("/nested", "#!/script more\n", 0755);
    char *nested[] = {"/nested", "end", NULL};
    check(strstr(output_of(nested), "more,/nested,end\n") != NULL, output_of(nested));
    write_file("/no-interpreter", "#!/not/there\n", 0755);
    write_file("/not-executable", "#!/bin/prober\n", 0644);
    write_file("/no-format", "just text\n", 0755);
    write_file("/circle", "#!/circle\n", 0755);
    write_file("/broken", "\177ELF\2\1\1garbage", 0755);
    struct { char *path; int error; } bad[] = {{"/no-interpreter", ENOENT}, {"/not-executable", EACCES}, {"/no-format", ENOEXEC},
        {"/circle", ELOOP}, {"/broken", ENOEXEC}, {"/p", EACCES}, {"/missing", ENOENT}};
    for (size_t i = 0; i < sizeof bad / sizeof *bad; i++) {
        char *argv[] = {bad[i].path, NULL};
        check(fails(execv(argv[0], argv), bad[i].error), bad[i].path);
    }
    check(fails(syscall(SYS_execve, 1, NULL, NULL), EFAULT) && fails(syscall(SYS_execve, "/bin/prober", 8, NULL), EFAULT), "exec of nothing");
    int fd = open("/bin/prober", O_RDONLY | O_CLOEXEC);
    pid_t pid = fork();
    if (pid == 0) {
        char *argv[] = {"x", "say", NULL};
        close(1);
        open("/by-descriptor", O_CREAT | O_WRONLY, 0644);
        fexecve(fd, argv, environ);
        _exit(1);
    }
    int status;
    check(waitpid(pid, &status, 0) == pid && status == 0 && strstr(read_file("/by-descriptor"), "path /bin/prober") != NULL, read_file("/by-descriptor"));
    pid = vfork();
    if (pid == 0) {
        execl("/bin/prober", "prober", "quiet", NULL);
        _exit(1);
    }
    check(waitpid(pid, &status, 0) == pid && status == 0, "vfork");
    char *quiet[] = {"prober", "quiet", NULL};
    check(posix_spawn(&pid, "/bin/prober", NULL, NULL, quiet, environ) == 0 && waitpid(pid, &status, 0) == pid && status == 0, "posix_spawn");
    check(posix_spawn(&pid, "/missing", NULL, NULL, quiet, environ) == ENOENT, "posix_spawn of nothing");
    static char *many[5002];
    static char long_one[100];
    memset(long_one, 'y', 99);
    many[0] = "/script";
    for (int i = 1; i < 5001; i++) many[i] = long_one;
    check(strlen(output_of(many)) > 500000, "many arguments of a script");
    pid = fork();
    if (pid == 0) {
        pthread_t thread;
        close(1);
        open("/by-thread", O_CREAT | O_WRONLY, 0644);
        pthread_create(&thread, NULL, exec_in_thread, NULL);
        pthread_join(thread, NULL);
        _exit(1);
    }
    check(waitpid(pid, &status, 0) == pid && status == 0 && strstr(read_file("/by-thread"), ": thread"), "exec in a thread");
    for (int i = 0; i < 1000; i++) {
        pid = fork();
        if (pid == 0) _exit(exists("/script") ? 7 : 1);
        if (waitpid(pid, &status, 0) != pid || WEXITSTATUS(status) != 7) check(0, "a thousand forks");
    }
}

static volatile sig_atomic_t got;
static void on_signal(int signal) { got = signal; }

static void signals(void) {
    struct sigaction action = {.sa_handler = on_signal};
    sigaction(SIGALRM, &action, NULL);
    int ends[2];
    char byte;
    check(pipe(ends) == 0, "pipe");
    struct itimerval soon = {{0, 0}, {0, 20000}};
    setitimer(ITIMER_REAL, &soon, NULL);
    check(fails(read(ends[0], &byte, 1), EINTR) && got == SIGALRM, "a call is interrupted");
    pid_t pid = fork();
    int status;
    if (pid == 0) {
        for (;;) pause();
    }
    check(kill(pid, SIGSTOP) == 0 && waitpid(pid, &status, WUNTRACED) == pid && WIFSTOPPED(status) && WSTOPSIG(status) == SIGSTOP, "stops");
    check(kill(pid, SIGCONT) == 0 && waitpid(pid, &status, WCONTINUED) == pid && WIFCONTINUED(status), "goes on");
    check(kill(pid, SIGTERM) == 0 && waitpid(pid, &status, 0) == pid && WTERMSIG(status) == SIGTERM, "ends");
    pid = fork();
    if (pid == 0) raise(SIGSEGV);
    check(waitpid(pid, &status, 0) == pid && WTERMSIG(status) == SIGSEGV, "dies");
    // Signals while calls are answered lose nothing.
    struct itimerval often = {{0, 300}, {0, 300}};
    setitimer(ITIMER_REAL, &often, NULL);
    struct stat s;
    int bad = 0;
    for (int i = 0; i < 2000; i++) bad += stat("/script", &s) != 0 || s.st_size != 26;
    memset(&often, 0, sizeof often);
    setitimer(ITIMER_REAL, &often, NULL);
    check(bad == 0, "calls under signals");
}

static void *busy(void *argument) {
    long number = (long)argument, bad = 0;
    char path[64], other[64];
    for (int i = 0; i < 200; i++) {
        sprintf(path, "/t/%ld-%d", number, i);
        sprintf(other, "/t/%ld-%d-moved", number, i);
        int fd = open(path, O_CREAT | O_EXCL | O_WRONLY, 0644);
        bad += fd < 0 || write(fd, path, 5) != 5 || close(fd) || rename(path, other) || unlink(other);
    }
    return (void *)bad;
}

static void threads(void) {
    pthread_t all[8];
    mkdir("/t", 0755);
    for (long i = 0; i < 8; i++) pthread_create(&all[i], NULL, busy, (void *)i);
    long bad = 0;
    for (int i = 0; i < 8; i++) {
        void *result;
        pthread_join(all[i], &result);
        bad += (long)result;
    }
    check(bad == 0 && rmdir("/t") == 0, "threads");
}

static void sockets(void) {
    struct sockaddr_un name = {.sun_family = AF_UNIX, .sun_path = "/p/socket"};
    int server = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0), client = socket(AF_UNIX, SOCK_STREAM, 0);
    check(fails(connect(client, (void *)&name, sizeof name), ENOENT), "nobody listens");
    check(bind(server, (void *)&name, sizeof name) == 0 && listen(server, 5) == 0, "bind");
    struct stat s;
    check(stat("/p/socket", &s) == 0 && S_ISSOCK(s.st_mode) && fcntl(server, F_GETFD) == FD_CLOEXEC, "a socket");
    check(connect(client, (void *)&name, sizeof name) == 0, "connect");
    int there = accept(server, NULL, NULL);
    char text[3] = "";
    check(there >= 0 && write(client, "hi", 2) == 2 && read(there, text, 2) == 2 && !strcmp(text, "hi"), "talk");
    check(fails(bind(socket(AF_UNIX, SOCK_STREAM, 0), (void *)&name, sizeof name), EADDRINUSE), "taken");
    int pair[2];
    check(fails(socket(AF_UNIX, SOCK_DGRAM | SOCK_CLOEXEC, 0), EPERM), "datagrams");
    check(fails(socketpair(AF_UNIX, SOCK_DGRAM, 0, pair), EPERM), "a pair for datagrams");
    check(socketpair(AF_UNIX, SOCK_STREAM, 0, pair) == 0, "a pair");
    check(fails(syscall(SYS_ptrace, 0, 0, 0, 0), EPERM), "to be traced");
    check(fails(syscall(SYS_clone, 0x00800000 | SIGCHLD, 0, 0, 0, 0), EPERM), "a process that nobody follows");
    struct sockaddr_un nameless = {.sun_family = AF_UNIX};
    check(bind(socket(AF_UNIX, SOCK_STREAM, 0), (void *)&nameless, sizeof(sa_family_t)) == 0, "a name of no file");
    check(mkfifo("/p/fifo", 0600) == 0, "a pipe");
    pid_t pid = fork();
    if (pid == 0) {
        int fd = open("/p/fifo", O_WRONLY);
        _exit(fd < 0 || write(fd, "through", 7) != 7);
    }
    int fd = open("/p/fifo", O_RDONLY);
    char more[8] = "";
    check(fd >= 0 && read(fd, more, 7) == 7 && !strcmp(more, "through"), "with two ends");
    waitpid(pid, NULL, 0);
}

static void hostile(void) {
    struct stat s;
    for (unsigned long bad = 0; bad < 3; bad++) {
        unsigned long address = bad == 0 ? 1 : bad == 1 ? ~0UL : 1UL << 60;
        check(fails(syscall(SYS_open, address, O_RDONLY), EFAULT), "open of nothing");
        check(fails(syscall(SYS_stat, "/", address), EFAULT), "stat into nothing");
        check(fails(syscall(SYS_rename, "/script", address), EFAULT), "rename to nothing");
        check(fails(syscall(SYS_getcwd, address, 100), EFAULT), "getcwd into nothing");
        check(fails(syscall(SYS_readlink, "/ol", address, 10), EFAULT), "readlink into nothing");
        check(fails(syscall(SYS_utimensat, AT_FDCWD, "/p", address, 0), EFAULT), "times from nothing");
        check(fails(syscall(SYS_setgroups, 5, address), EFAULT), "groups from nothing");
        check(fails(syscall(SYS_setxattr, "/p", "user.x", address, 10, 0), EFAULT), "an attribute from nothing");
        check(syscall(SYS_connect, socket(AF_UNIX, SOCK_STREAM, 0), address, 20) == -1, "connect to nothing");
    }
    check(fails(syscall(SYS_setgroups, 1 << 30, 0), EINVAL), "too many groups");
    check(fails(syscall(SYS_setxattr, "/p", "user.x", "", 1UL << 40, 0), E2BIG), "too large an attribute");
    check(fails(open("", O_RDONLY), ENOENT) && fails(stat("", &s), ENOENT), "no path");
    char *page = mmap(NULL, 8192, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    munmap(page + 4096, 4096);
    memset(page, 'x', 4096);
    check(fails(open(page + 8, O_RDONLY), EFAULT) && fails(open(page, O_RDONLY), ENAMETOOLONG), "a path without end");
    memcpy(page + 4096 - 8, "/script", 8);
    check(stat(page + 4096 - 8, &s) == 0, "a path at the end of memory");
    static char endless[8192];
    memset(endless, '/', sizeof endless - 1);
    check(fails(open(endless, O_RDONLY), ENAMETOOLONG), "an endless path");
    check(fails(fstat(999, &s), EBADF) && fails(fchdir(999), EBADF) && fails(openat(999, "x", O_RDONLY), EBADF), "no descriptor");
    check(fails(fstatat(0, "x", &s, 0), ENOTDIR), "no directory");
    check(prctl(PR_SET_DUMPABLE, 0) == 0 && stat("/script", &s) == 0, "nothing is hidden");
}

int main(int argc, char **argv) {
    if (argc > 1 && !strcmp(argv[1], "quiet")) return 0;
    if (argc > 1 && strcmp(argv[0], "/bin/prober") && argv[0][0] == '/' && strncmp(argv[1], "say", 3)) return 3;
    if (argc > 1 && !strncmp(argv[1], "say", 3)) {
        char exe[256], name[32];
        ssize_t length = readlink("/proc/self/exe", exe, sizeof exe - 1);
        exe[length < 0 ? 0 : length] = 0;
        prctl(PR_GET_NAME, name);
        printf("path %s user %d %d name %s: ", exe, getuid(), geteuid(), name);
        for (int i = 2; i < argc; i++) printf("%s%s", argv[i], i + 1 < argc ? "," : "");
        printf("\n");
        return 0;
    }
    setvbuf(stdout, NULL, _IONBF, 0);
    paths();
    escapes(argv[1]);
    owners();
    programs();
    signals();
    threads();
    sockets();
    hostile();
    printf(checks > 150 ? "done\n" : "too few\n");
    return 0;
}
