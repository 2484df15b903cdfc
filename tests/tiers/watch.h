/* SPDX-License-Identifier: BSD-3-Clause
 *
 * The processes of a test: servers, started, killed and ended; and what watches them: a thread that
 * samples a server's memory and sees that no request takes for ever.
 */

#ifndef TIERS_WATCH_H
#define TIERS_WATCH_H

#include <stdbool.h>
#include <stdint.h>
#include <sys/types.h>

struct server {
  const char *command; /* for a shell; serves on socket, in the foreground */
  const char *socket;
  pid_t pid; /* 0: does not run */
};

/* Start it and wait until it listens; *seconds is how long that took. */
void server_start(struct server *server, double *seconds);

/* With a signal, and wait until it is gone: it must end with status 0 if that is SIGTERM. */
void server_end(struct server *server, int signal_number, double *seconds);

/* Fails if it is not there any more. */
void server_check(const struct server *server);

/* Wait until it has done all that clients wanted who are dead by now: no connection is left.  A
 * request that was on its way when its client was killed is still carried out. */
void server_wait_for_clients(const struct server *server);

/* Run a shell command and wait for it; its exit status.  Its output goes to the file, if any. */
int run_command(const char *command, const char *output);

/* The highest resident memory that the process had since it began, in bytes; 0 if nobody can tell.
 */
uint64_t memory_peak(pid_t pid);
uint64_t memory_now(pid_t pid);

#endif
