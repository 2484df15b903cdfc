/* SPDX-License-Identifier: BSD-3-Clause */

#include "watch.h"
#include "../mount/stress.h"

#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/wait.h>
#include <unistd.h>

#include <libnbd.h>

enum { COMMAND = 4000, START_SECONDS = 60, END_SECONDS = 120, LONGEST_LINE = 512 };

static _Noreturn void become(const char *command, const char *output) {
  prctl(PR_SET_PDEATHSIG, SIGKILL);
  int fd = open("/dev/null", O_RDONLY);
  dup2(fd, STDIN_FILENO);
  if (output && (fd = open(output, O_WRONLY | O_CREAT | O_APPEND, 0600)) >= 0) {
    dup2(fd, STDOUT_FILENO);
    dup2(fd, STDERR_FILENO);
  }
  execl("/bin/sh", "sh", "-c", command, (char *)NULL);
  _exit(127);
}

static pid_t spawn(const char *command, const char *output) {
  pid_t pid = fork();
  if (pid < 0)
    fail_errno("fork");
  if (pid == 0)
    become(command, output);
  return pid;
}

static bool listens(const char *path) {
  struct nbd_handle *nbd = nbd_create();
  bool connected = nbd && nbd_connect_unix(nbd, path) == 0;
  if (connected)
    nbd_shutdown(nbd, 0);
  nbd_close(nbd);
  return connected;
}

void server_check(const struct server *server) {
  int status;
  if (server->pid == 0 || waitpid(server->pid, &status, WNOHANG) == 0)
    return;
  if (WIFSIGNALED(status))
    fail("the server was ended by signal %d: %s", WTERMSIG(status), server->command);
  fail("the server ended with status %d: %s", WEXITSTATUS(status), server->command);
}

void server_start(struct server *server, double *seconds) {
  double began = seconds_now();
  unlink(server->socket);
  char line[COMMAND];
  snprintf(line, sizeof line, "exec %s", server->command);
  server->pid = spawn(line, NULL);
  while (access(server->socket, F_OK) != 0 || !listens(server->socket)) {
    server_check(server);
    if (seconds_now() - began > START_SECONDS)
      fail("not ready in %d s: %s", START_SECONDS, server->command);
    usleep(2000);
  }
  *seconds = seconds_now() - began;
}

void server_end(struct server *server, int signal_number, double *seconds) {
  double began = seconds_now();
  int status;
  pid_t ended;
  kill(server->pid, signal_number);
  while ((ended = waitpid(server->pid, &status, WNOHANG)) == 0) {
    if (seconds_now() - began > END_SECONDS)
      fail("did not end in %d s: %s", END_SECONDS, server->command);
    usleep(1000);
  }
  *seconds = seconds_now() - began;
  if (ended < 0)
    fail_errno("waiting for the server");
  server->pid = 0;
  if (signal_number == SIGTERM && status != 0)
    fail("at SIGTERM, the server ended with %s %d: %s", WIFSIGNALED(status) ? "signal" : "status",
         WIFSIGNALED(status) ? WTERMSIG(status) : WEXITSTATUS(status), server->command);
}

/* Lines of the kernel's table end with the path; the sixth word is 03 for a connection. */
static bool has_clients(const char *path) {
  char line[LONGEST_LINE], state[8], name[256];
  bool found = false;
  FILE *file = fopen("/proc/net/unix", "re");
  while (file && fgets(line, sizeof line, file))
    found |= sscanf(line, "%*s %*s %*s %*s %*s %7s %*s %255s", state, name) == 2 &&
             strcmp(state, "03") == 0 && strcmp(name, path) == 0;
  if (file)
    fclose(file);
  return found;
}

void server_wait_for_clients(const struct server *server) {
  double began = seconds_now();
  while (has_clients(server->socket)) {
    if (seconds_now() - began > END_SECONDS)
      fail("a dead client is still served after %d s: %s", END_SECONDS, server->command);
    usleep(1000);
  }
}

int run_command(const char *command, const char *output) {
  int status;
  pid_t pid = spawn(command, output);
  if (waitpid(pid, &status, 0) != pid)
    fail_errno("waiting for: %s", command);
  return WIFEXITED(status) ? WEXITSTATUS(status) : 128 + WTERMSIG(status);
}

static uint64_t memory_field(pid_t pid, const char *field) {
  char path[64], line[LONGEST_LINE];
  uint64_t kib = 0;
  snprintf(path, sizeof path, "/proc/%d/status", (int)pid);
  FILE *file = fopen(path, "re");
  while (file && fgets(line, sizeof line, file))
    if (strncmp(line, field, strlen(field)) == 0)
      sscanf(line + strlen(field), ": %" SCNu64, &kib);
  if (file)
    fclose(file);
  return kib * 1024;
}

uint64_t memory_peak(pid_t pid) {
  return memory_field(pid, "VmHWM");
}

uint64_t memory_now(pid_t pid) {
  return memory_field(pid, "VmRSS");
}
