// Serves one page over HTTP/1.1, one connection at a time. Written to be process 1 of a container made from scratch:
// it needs no shell, no files but its page, and ends on SIGTERM.
//
//   server PORT PAGE     serve PAGE on / and "ok" on /health
//   server --check PORT  exit 0 if a server on loopback answers /health with 200
#define _POSIX_C_SOURCE 200809L
#include <arpa/inet.h>
#include <errno.h>
#include <fcntl.h>
#include <netinet/in.h>
#include <signal.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/time.h>
#include <unistd.h>

enum { MAX_REQUEST = 8192, MAX_PAGE = 1 << 20, BACKLOG = 64, TIMEOUT_SECONDS = 5 };

static volatile sig_atomic_t stopping = 0;

static void stop(int signal) {
    (void)signal;
    stopping = 1;
}

static void die(const char *what) {
    fprintf(stderr, "server: %s: %s\n", what, strerror(errno));
    exit(1);
}

static struct sockaddr_in address(const char *port, in_addr_t host) {
    char *end = NULL;
    long number = strtol(port, &end, 10);
    if (*port == '\0' || *end != '\0' || number < 1 || number > 65535) {
        fprintf(stderr, "server: `%s` is not a port\n", port);
        exit(2);
    }
    struct sockaddr_in to = {.sin_family = AF_INET, .sin_port = htons((uint16_t)number)};
    to.sin_addr.s_addr = htonl(host);
    return to;
}

static void limit_time(int connection) {
    struct timeval patience = {.tv_sec = TIMEOUT_SECONDS};
    setsockopt(connection, SOL_SOCKET, SO_RCVTIMEO, &patience, sizeof patience);
    setsockopt(connection, SOL_SOCKET, SO_SNDTIMEO, &patience, sizeof patience);
}

static bool send_all(int connection, const char *bytes, size_t length) {
    while (length > 0) {
        ssize_t sent = send(connection, bytes, length, MSG_NOSIGNAL);
        if (sent < 0 && errno == EINTR) continue;
        if (sent <= 0) return false;
        bytes += sent;
        length -= (size_t)sent;
    }
    return true;
}

// Reads up to the empty line that ends a request's head; false if the peer sends none within the limits.
static bool read_head(int connection, char *head) {
    size_t length = 0;
    while (length < MAX_REQUEST - 1) {
        ssize_t got = recv(connection, head + length, MAX_REQUEST - 1 - length, 0);
        if (got < 0 && errno == EINTR && !stopping) continue;
        if (got <= 0) return false;
        length += (size_t)got;
        head[length] = '\0';
        if (strstr(head, "\r\n\r\n") != NULL) return true;
    }
    return false;
}

static void answer(int connection, const char *status, const char *type, const char *body, size_t size, bool with_body) {
    char head[256];
    int length = snprintf(head, sizeof head,
                          "HTTP/1.1 %s\r\nContent-Type: %s\r\nContent-Length: %zu\r\nConnection: close\r\n\r\n", status,
                          type, size);
    if (length > 0 && send_all(connection, head, (size_t)length) && with_body) send_all(connection, body, size);
}

static void serve(int connection, const char *page, size_t size) {
    char head[MAX_REQUEST], method[8], path[1024];
    if (!read_head(connection, head) || sscanf(head, "%7s %1023s HTTP/1.", method, path) != 2) {
        answer(connection, "400 Bad Request", "text/plain", "bad request\n", 12, true);
        return;
    }
    bool with_body = strcmp(method, "GET") == 0;
    if (!with_body && strcmp(method, "HEAD") != 0)
        answer(connection, "405 Method Not Allowed", "text/plain", "GET or HEAD\n", 12, true);
    else if (strcmp(path, "/") == 0)
        answer(connection, "200 OK", "text/html; charset=utf-8", page, size, with_body);
    else if (strcmp(path, "/health") == 0)
        answer(connection, "200 OK", "text/plain", "ok\n", 3, with_body);
    else
        answer(connection, "404 Not Found", "text/plain", "not found\n", 10, with_body);
}

static int check(const char *port) {
    struct sockaddr_in to = address(port, INADDR_LOOPBACK);
    int connection = socket(AF_INET, SOCK_STREAM, 0);
    if (connection < 0) die("socket");
    limit_time(connection);
    if (connect(connection, (struct sockaddr *)&to, sizeof to) < 0) die("connect");
    const char request[] = "GET /health HTTP/1.1\r\nHost: localhost\r\n\r\n";
    char reply[64] = {0};
    if (!send_all(connection, request, sizeof request - 1) || recv(connection, reply, sizeof reply - 1, MSG_WAITALL) <= 0)
        die("ask");
    return strncmp(reply, "HTTP/1.1 200 ", 13) == 0 ? 0 : 1;
}

static char *read_page(const char *path, size_t *size) {
    int file = open(path, O_RDONLY | O_CLOEXEC);
    struct stat about;
    if (file < 0 || fstat(file, &about) < 0) die(path);
    if (about.st_size > MAX_PAGE) {
        fprintf(stderr, "server: %s is larger than %d bytes\n", path, MAX_PAGE);
        exit(1);
    }
    char *page = malloc((size_t)about.st_size + 1);
    if (page == NULL) die("memory");
    *size = 0;
    while (*size < (size_t)about.st_size) {
        ssize_t got = read(file, page + *size, (size_t)about.st_size - *size);
        if (got < 0) die(path);
        if (got == 0) break;
        *size += (size_t)got;
    }
    close(file);
    return page;
}

int main(int count, char **arguments) {
    if (count == 2 && strcmp(arguments[1], "--version") == 0) return puts("hello-web 1.0") < 0;
    if (count == 3 && strcmp(arguments[1], "--check") == 0) return check(arguments[2]);
    if (count != 3) {
        fputs("usage: server PORT PAGE | server --check PORT | server --version\n", stderr);
        return 2;
    }
    size_t size;
    char *page = read_page(arguments[2], &size);
    struct sockaddr_in here = address(arguments[1], INADDR_ANY);
    // Without SA_RESTART, so that accept returns when the container is asked to stop.
    struct sigaction action = {.sa_handler = stop};
    sigaction(SIGTERM, &action, NULL);
    sigaction(SIGINT, &action, NULL);

    int listener = socket(AF_INET, SOCK_STREAM, 0), yes = 1;
    if (listener < 0) die("socket");
    setsockopt(listener, SOL_SOCKET, SO_REUSEADDR, &yes, sizeof yes);
    if (bind(listener, (struct sockaddr *)&here, sizeof here) < 0) die("bind");
    if (listen(listener, BACKLOG) < 0) die("listen");
    fprintf(stderr, "server: listening on port %s\n", arguments[1]);
    while (!stopping) {
        int connection = accept(listener, NULL, NULL);
        if (connection < 0) {
            if (errno == EINTR || errno == ECONNABORTED) continue;
            die("accept");
        }
        limit_time(connection);
        serve(connection, page, size);
        close(connection);
    }
    free(page);
    fputs("server: stopped\n", stderr);
    return 0;
}
