/* SPDX-License-Identifier: BSD-3-Clause */

#include "contest.h"
#include "policy.h"

#include <stdlib.h>
#include <string.h>

/* Each miniature holds as many sectors of the sample as the memory would if it
 * shrank with the sample.  They share what is known of the sectors, which are up to
 * sixteen times as many as fit in one; those seen longest ago are forgotten. */
enum { PLACES = 16 * CONTEST_CAPACITY, BUCKETS = PLACES, NOWHERE = 0xffff };

/* Hits fade so that about the last 64 of the best judge count, where hits are
 * many: a memory that a shift of the work overcomes soon.  Where they are few
 * they fade with time, an eighth each 32 accesses: a memory of half a
 * miniature's capacity. */
enum {
  PERIOD = 8, /* accesses */
  QUIET_PERIODS = 4,
  HIT = 256, /* so that fading shows in small numbers */
  HITS_REMEMBERED = 64 * HIT,
  MARGIN = 2 * HIT, /* a new judge must lead by that and a 64th */
};

struct visitor {
  uint32_t tag;
  uint32_t heat;
  uint16_t next;    /* in its bucket */
  uint8_t resident; /* bit j: in the miniature of judge j */
  uint8_t returned; /* bit j: and accessed again there */
};

struct miniature {
  unsigned count;
  uint32_t hits; /* fading */
  uint16_t places[CONTEST_CAPACITY + 1];
};

struct contest {
  unsigned capacity, batch;
  unsigned used, hand;
  unsigned accesses; /* in this period */
  unsigned quiet;
  struct miniature miniatures[JUDGES];
  uint16_t buckets[BUCKETS];
  struct visitor visitors[PLACES];
  struct candidate candidates[CONTEST_CAPACITY + 1];
};

struct contest *contest_create(void) {
  return malloc(sizeof(struct contest));
}

void contest_destroy(struct contest *contest) {
  free(contest);
}

size_t contest_bytes(void) {
  return sizeof(struct contest);
}

void contest_reset(struct contest *contest, unsigned capacity) {
  memset(contest, 0, sizeof(*contest));
  contest->capacity = capacity > CONTEST_CAPACITY ? CONTEST_CAPACITY : capacity;
  if (!contest->capacity)
    contest->capacity = 1;
  contest->batch = contest->capacity / 16 + 1;
  memset(contest->buckets, 0xff, sizeof(contest->buckets));
}

static uint16_t *bucket_of(struct contest *contest, uint32_t tag) {
  return &contest->buckets[tag % BUCKETS];
}

static void forget(struct contest *contest, unsigned place) {
  uint16_t *link = bucket_of(contest, contest->visitors[place].tag);
  while (*link != place)
    link = &contest->visitors[*link].next;
  *link = contest->visitors[place].next;
}

/* The place of the one seen longest ago among some that are in no miniature. */
static unsigned place_to_reuse(struct contest *contest, uint32_t now) {
  unsigned best = NOWHERE, seen = 0;
  for (unsigned i = 0; i < PLACES && seen < 32; i++) {
    contest->hand = (contest->hand + 1) % PLACES;
    struct visitor *visitor = &contest->visitors[contest->hand];
    if (visitor->resident)
      continue;
    seen++;
    if (best == NOWHERE ||
        heat_age(visitor->heat, now) > heat_age(contest->visitors[best].heat, now))
      best = contest->hand;
  }
  return best;
}

static struct visitor *visitor_of(struct contest *contest, uint32_t tag, uint32_t now) {
  uint16_t *bucket = bucket_of(contest, tag);
  for (unsigned place = *bucket; place != NOWHERE; place = contest->visitors[place].next)
    if (contest->visitors[place].tag == tag) {
      struct visitor *visitor = &contest->visitors[place];
      visitor->heat = heat_visited(visitor->heat, now, tag ^ now * 0x9e3779b1u);
      return visitor;
    }
  unsigned place;
  if (contest->used < PLACES) {
    place = contest->used++;
  } else {
    place = place_to_reuse(contest, now);
    forget(contest, place);
  }
  contest->visitors[place] = (struct visitor){.tag = tag, .heat = heat_new(now), .next = *bucket};
  *bucket = (uint16_t)place;
  return &contest->visitors[place];
}

static void evict(struct contest *contest, unsigned judge, uint32_t now) {
  struct miniature *miniature = &contest->miniatures[judge];
  for (unsigned i = 0; i < miniature->count; i++) {
    struct visitor *visitor = &contest->visitors[miniature->places[i]];
    uint32_t returned = visitor->returned >> judge & 1 ? HEAT_RETURNED : 0;
    contest->candidates[i] = (struct candidate){
        .score = heat_score(judge, visitor->heat | returned, now), .place = miniature->places[i]};
  }
  policy_choose(NULL, contest->candidates, miniature->count, contest->batch);
  for (unsigned i = 0; i < contest->batch; i++)
    contest->visitors[contest->candidates[i].place].resident &= (uint8_t) ~(1u << judge);
  miniature->count -= contest->batch;
  for (unsigned i = 0; i < miniature->count; i++)
    miniature->places[i] = (uint16_t)contest->candidates[contest->batch + i].place;
}

static void play(struct contest *contest, unsigned judge, struct visitor *visitor, uint32_t now) {
  struct miniature *miniature = &contest->miniatures[judge];
  uint8_t bit = (uint8_t)(1u << judge);
  if (visitor->resident & bit) {
    visitor->returned |= bit;
    miniature->hits += HIT;
    return;
  }
  visitor->resident |= bit;
  visitor->returned &= (uint8_t)~bit;
  miniature->places[miniature->count++] = (uint16_t)(visitor - contest->visitors);
  if (miniature->count > contest->capacity)
    evict(contest, judge, now);
}

static void fade(struct contest *contest) {
  uint32_t most = 0;
  for (unsigned i = 0; i < JUDGES; i++)
    if (contest->miniatures[i].hits > most)
      most = contest->miniatures[i].hits;
  if (most <= HITS_REMEMBERED && ++contest->quiet < QUIET_PERIODS)
    return;
  contest->quiet = 0;
  for (unsigned i = 0; i < JUDGES; i++)
    contest->miniatures[i].hits -= contest->miniatures[i].hits / 8;
}

static enum judge best(struct contest *contest, enum judge current) {
  enum judge judge = current;
  for (unsigned i = 0; i < JUDGES; i++)
    if (contest->miniatures[i].hits > contest->miniatures[judge].hits)
      judge = i;
  uint32_t least = contest->miniatures[current].hits;
  least += least / 64 + MARGIN;
  return contest->miniatures[judge].hits > least ? judge : current;
}

enum judge contest_access(struct contest *contest, uint32_t tag, uint32_t now, enum judge current) {
  struct visitor *visitor = visitor_of(contest, tag, now);
  for (unsigned judge = 0; judge < JUDGES; judge++)
    play(contest, judge, visitor, now);
  if (++contest->accesses < PERIOD)
    return current;
  contest->accesses = 0;
  enum judge judge = best(contest, current);
  fade(contest);
  return judge;
}
