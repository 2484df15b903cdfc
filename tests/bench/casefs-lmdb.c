/* SPDX-License-Identifier: BSD-3-Clause
 *
 * The peer of casefs in process: LMDB.
 */

#include "casefs-bench.h"

#include <lmdb.h>
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

#define MAP_SIZE ((size_t)64 << 30)

struct peer {
  MDB_env *environment;
  MDB_dbi database;
  MDB_txn *transaction;
};

static void check_lmdb(int result, const char *what) {
  if (result == 0)
    return;
  fprintf(stderr, "casefsload: LMDB: %s: %s\n", what, mdb_strerror(result));
  exit(1);
}

static MDB_val key_of(const file_name *name) {
  return (MDB_val){NAME_LENGTH, (void *)name};
}

struct peer *peer_open(const char *folder, bool sync) {
  struct peer *peer = allocate(sizeof *peer);
  char path[4096], lock[4096 + 8];
  MDB_txn *transaction;

  snprintf(path, sizeof path, "%s/lmdb-%ld", folder, (long)getpid());
  snprintf(lock, sizeof lock, "%s-lock", path);
  check_lmdb(mdb_env_create(&peer->environment), "create");
  check_lmdb(mdb_env_set_mapsize(peer->environment, MAP_SIZE), "map size");
  check_lmdb(mdb_env_open(peer->environment, path, MDB_NOSUBDIR | (sync ? 0 : MDB_NOSYNC), 0600),
             path);
  unlink(path);
  unlink(lock);
  check_lmdb(mdb_txn_begin(peer->environment, NULL, 0, &transaction), "begin");
  check_lmdb(mdb_dbi_open(transaction, NULL, 0, &peer->database), "open");
  check_lmdb(mdb_txn_commit(transaction), "commit");
  peer->transaction = NULL;
  return peer;
}

void peer_close(struct peer *peer) {
  mdb_env_close(peer->environment);
  free(peer);
}

void peer_begin(struct peer *peer, bool write) {
  check_lmdb(mdb_txn_begin(peer->environment, NULL, write ? 0 : MDB_RDONLY, &peer->transaction),
             "begin");
}

double peer_commit(struct peer *peer) {
  double start = seconds();
  check_lmdb(mdb_txn_commit(peer->transaction), "commit");
  return seconds() - start;
}

double peer_put(struct peer *peer, const file_name *names, uint32_t count) {
  double start = seconds();
  for (uint64_t i = 0; i < count; i++) {
    MDB_val key = key_of(&names[i]), value = {sizeof i, &i};
    check_lmdb(mdb_put(peer->transaction, peer->database, &key, &value, 0), "put");
  }
  return seconds() - start;
}

double peer_get(struct peer *peer, const file_name *names, uint32_t count) {
  double start = seconds();
  for (uint32_t i = 0; i < count; i++) {
    MDB_val key = key_of(&names[i]), value;
    check_lmdb(mdb_get(peer->transaction, peer->database, &key, &value), "get");
  }
  return seconds() - start;
}

double peer_delete(struct peer *peer, const file_name *names, uint32_t count) {
  double start = seconds();
  for (uint32_t i = 0; i < count; i++) {
    MDB_val key = key_of(&names[i]);
    check_lmdb(mdb_del(peer->transaction, peer->database, &key, NULL), "del");
  }
  return seconds() - start;
}

double peer_list(struct peer *peer, uint64_t count) {
  MDB_cursor *cursor;
  MDB_val key, value;
  double start = seconds();
  check_lmdb(mdb_cursor_open(peer->transaction, peer->database, &cursor), "cursor");
  for (uint64_t i = 0; i < count; i++)
    check_lmdb(mdb_cursor_get(cursor, &key, &value, MDB_NEXT), "next");
  mdb_cursor_close(cursor);
  return seconds() - start;
}

void peer_put_alone(struct peer *peer, const file_name *name, uint64_t value) {
  MDB_txn *transaction;
  MDB_val key = key_of(name), data = {sizeof value, &value};
  check_lmdb(mdb_txn_begin(peer->environment, NULL, 0, &transaction), "begin");
  check_lmdb(mdb_put(transaction, peer->database, &key, &data, 0), "put");
  check_lmdb(mdb_txn_commit(transaction), "commit");
}
