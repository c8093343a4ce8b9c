/* Whether a kernel is to stop before its work is done, and threads that ask this at every unit of their work.
 *
 * Python runs the handlers of signals in its main thread alone, and not while that is in compiled code. So a kernel that
 * was called there lets them run now and then; if one raises, all threads stop. Only the calling thread may do so: it
 * is thread 0 of its team. A kernel in another Python thread is stopped by a flag, which costs no look.
 */
#ifndef HPCML_SIGNALS_H
#define HPCML_SIGNALS_H

#include <stdint.h>
#include <time.h>
#ifdef _OPENMP
#include <omp.h>
#endif

enum { NO_MEMORY = -1, STOPPED = -2 }; /* why a kernel failed */

#define LOOK_INTERVAL 50000000           /* ns; calls that are shorter never look */
#define LONGEST_LOOK_INTERVAL 250000000  /* ns */
#define LOOKS_SHARE 20  /* a look that waits 5 ms for a busy Python thread is followed by 20 times as long without one */
#define WAITS_SHARE 256 /* the calling thread, done before others, sleeps for this part of the time that has passed */

/* Lets handlers of signals run; returns whether one raised. */
typedef int (*look_function)(void);

typedef struct {
    look_function look;  /* NULL outside Python's main thread */
    const int32_t *flag; /* not 0: another thread asks to stop; may be NULL */
    int64_t called, due; /* ns: when the call began, when the next look is due */
    int raised, stopped; /* by a handler, whose exception is the calling thread's; by anything */
} signals_t;

static inline int64_t nanoseconds(void) {
    struct timespec t;
#ifdef CLOCK_MONOTONIC_COARSE
    clock_gettime(CLOCK_MONOTONIC_COARSE, &t); /* in steps of some ms, for a few ns */
#else
    clock_gettime(CLOCK_MONOTONIC, &t);
#endif
    return (int64_t)t.tv_sec * 1000000000 + t.tv_nsec;
}

static inline signals_t signals_for(look_function look, const int32_t *flag) {
    const int64_t now = look ? nanoseconds() : 0;
    return (signals_t){look, flag, now, now + LOOK_INTERVAL, 0, 0};
}

static inline int is_calling_thread(void) {
#ifdef _OPENMP
    return omp_get_thread_num() == 0;
#else
    return 1;
#endif
}

static inline int looked(signals_t *s) {
    const int64_t now = nanoseconds();
    if (now < s->due) return 0;
    s->raised = s->look() != 0;
    const int64_t after = nanoseconds(), pause = LOOKS_SHARE * (after - now);
    s->due = after + (pause < LOOK_INTERVAL ? LOOK_INTERVAL : pause < LONGEST_LOOK_INTERVAL ? pause : LONGEST_LOOK_INTERVAL);
    return s->raised;
}

/* Whether to stop; any thread asks. */
static inline int is_stopped(signals_t *s) {
    int stopped;
#pragma omp atomic read
    stopped = s->stopped;
    if (stopped) return 1;
    if (s->flag && __atomic_load_n(s->flag, __ATOMIC_RELAXED)) stopped = 1;
    else if (s->look && is_calling_thread()) stopped = looked(s);
    if (stopped) {
#pragma omp atomic write
        s->stopped = 1;
    }
    return stopped;
}

#define WORK_BETWEEN_LOOKS 262144 /* additions: some 100 us */

typedef struct {
    signals_t *signals;
    int64_t work; /* since it last asked */
    int stopped;
} watch_t; /* of one thread */

/* Whether to stop, in the midst of a unit of work, after so many more additions. */
static inline int is_stopped_after(watch_t *watch, int64_t work) {
    watch->work += work;
    if (watch->work >= WORK_BETWEEN_LOOKS) {
        watch->work = 0;
        watch->stopped = is_stopped(watch->signals);
    }
    return watch->stopped;
}

/* -- threads that take units of work until none is left ----------------------------------------------------------- */

typedef struct {
    signals_t *signals;
    int64_t n, at_once; /* units, and how many a thread takes in one go */
    int64_t next;       /* the first that nobody has taken */
    int at_work;        /* threads */
    int failed;         /* 0, or why */
} team_t;

typedef struct {
    int64_t next, stop; /* what a thread has taken and not done */
    watch_t watch, *outer;
} share_t;

static _Thread_local watch_t *watch_of_thread; /* of the team that it works in; NULL outside */

static inline team_t team_of(int64_t n, int64_t at_once, signals_t *signals) {
    return (team_t){signals, n, at_once, 0, 0, 0};
}

static inline void fail(team_t *team, int why) {
#pragma omp atomic write
    team->failed = why;
}

/* A handler that runs in the midst of a unit may call kernels: teams in teams. */
static inline void enter(team_t *team, share_t *own) {
#pragma omp atomic
    team->at_work++;
    *own = (share_t){0, 0, {team->signals, 0, 0}, watch_of_thread};
    watch_of_thread = &own->watch;
}

/* The number of a thread's next unit; -1 when none is left or all are to stop. */
static inline int64_t next_unit(team_t *team, share_t *own) {
    if (own->next == own->stop) {
        int failed;
#pragma omp atomic read
        failed = team->failed;
        if (!failed && is_stopped(team->signals)) fail(team, failed = STOPPED);
        if (failed) return -1;
        int64_t first;
#pragma omp atomic capture
        {
            first = team->next;
            team->next += team->at_once;
        }
        if (first >= team->n) return -1;
        own->next = first;
        own->stop = first + team->at_once < team->n ? first + team->at_once : team->n;
    }
    return own->next++;
}

/* At the end of a long call the calling thread goes on to look while others are at their last units. */
static inline void leave(team_t *team, share_t *own) {
    signals_t *s = team->signals;
    watch_of_thread = own->outer;
#pragma omp atomic
    team->at_work--;
    if (!s->look || !is_calling_thread()) return;
    for (int others = 1; others;) {
        const int64_t passed = nanoseconds() - s->called;
        if (passed < LOOK_INTERVAL) return;
        if (is_stopped(s)) {
            fail(team, STOPPED);
            return;
        }
#pragma omp atomic read
        others = team->at_work;
        const int64_t wait = passed < LOOK_INTERVAL * (int64_t)WAITS_SHARE ? passed / WAITS_SHARE : LOOK_INTERVAL;
        const struct timespec pause = {0, (long)wait};
        if (others) nanosleep(&pause, NULL);
    }
}

/* -- loops in the midst of a unit --------------------------------------------------------------------------------- */

typedef struct {
    watch_t *watch; /* NULL: passes are too short to ask */
    int64_t work;
} passes_t; /* over some rows each */

/* Of so many additions each; a shard of ten million rows has 300 blocks of 128. */
static inline passes_t passes_of(double work) {
    if (work < WORK_BETWEEN_LOOKS / 16) return (passes_t){NULL, 0};
    return (passes_t){watch_of_thread, work < WORK_BETWEEN_LOOKS ? (int64_t)work : WORK_BETWEEN_LOOKS};
}

static inline int go_on(const passes_t *passes) {
    return !passes->watch || !is_stopped_after(passes->watch, passes->work);
}

#endif
