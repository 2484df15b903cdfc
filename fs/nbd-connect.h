/* SPDX-License-Identifier: BSD-3-Clause
 *
 * Inside the NBD device: connecting to a server, saying why that failed, and what else calling
 * libnbd needs.
 */

#ifndef CASEFS_NBD_CONNECT_H
#define CASEFS_NBD_CONNECT_H

#include <libnbd.h>
#include <signal.h>
#include <stdbool.h>

/* Connect and shake hands, in at most that many seconds (name resolution not counted).  The caller
 * closes the handle with nbd_close.  0 or a negative errno, and a sentence in *error as in
 * device_refuse. */
int connect_nbd_server(const char *uri, int seconds, struct nbd_handle **handle, char **error);

/* Put a sentence about the server of that URI into *error, and return code; or, after a failure of
 * libnbd in this thread, its text and errno. */
int refuse_server(char **error, const char *uri, int code, const char *text);
int refuse_by_libnbd(char **error, const char *uri);

/* Move libnbd on as poll tells: the events to poll for, and what to do with those found.  -1 if
 * libnbd says so; that also shows in its state. */
short events_of(unsigned direction);
int notify_libnbd(struct nbd_handle *handle, unsigned direction, short events);

/* SIGPIPE: libnbd sends with MSG_NOSIGNAL, but the TLS library under it may not.  Keeps the signal
 * from this thread while libnbd is called, if that is needed. */
struct signal_guard {
  bool used;
  sigset_t mask;
};
struct signal_guard guard_signal(bool needed);
void unguard_signal(const struct signal_guard *guard);

#endif
