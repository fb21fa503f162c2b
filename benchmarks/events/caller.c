/* Calls getppid() at a fixed rate, from several threads.
 *
 * caller THREADS: for each line "RATE SECONDS" of the input, together so many calls a
 * second, evenly over the threads, in bursts of a millisecond; then one line "CALLS
 * NANOSECONDS CPU_NANOSECONDS". A thread that falls behind does not rest, and stops at the
 * end of the time with what it has done.
 */
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/syscall.h>
#include <time.h>
#include <unistd.h>

#define TICK 1000000L
#define SECOND 1000000000L
#define MOST 64

static double rate, seconds;
static int threads;
static long calls[MOST];
static long began;

static long now(clockid_t clock)
{
    struct timespec t;

    clock_gettime(clock, &t);
    return t.tv_sec * SECOND + t.tv_nsec;
}

static void *call(void *place)
{
    long *done = place, end = began + (long)(seconds * SECOND);
    double share = rate / threads;
    long last = (long)(share * seconds);

    *done = 0;
    for (long tick = began; *done < last; tick += TICK) {
        struct timespec at = {(tick + TICK) / SECOND, (tick + TICK) % SECOND};
        long due = (long)(share * (tick + TICK - began) / SECOND);

        for (; *done < due && *done < last; ++*done)
            syscall(SYS_getppid);
        if (now(CLOCK_MONOTONIC) > end)
            break;
        clock_nanosleep(CLOCK_MONOTONIC, TIMER_ABSTIME, &at, NULL);
    }
    return NULL;
}

int main(int count, char **words)
{
    threads = count > 1 ? atoi(words[1]) : 1;
    if (threads < 1 || threads > MOST)
        return 2;
    while (scanf("%lf %lf", &rate, &seconds) == 2) {
        pthread_t ids[MOST];
        long total = 0, cpu = now(CLOCK_PROCESS_CPUTIME_ID);

        began = now(CLOCK_MONOTONIC);
        for (int i = 0; i < threads; i++)
            if (pthread_create(&ids[i], NULL, call, &calls[i]))
                return 1;
        for (int i = 0; i < threads; i++) {
            pthread_join(ids[i], NULL);
            total += calls[i];
        }
        printf("%ld %ld %ld\n", total, now(CLOCK_MONOTONIC) - began,
               now(CLOCK_PROCESS_CPUTIME_ID) - cpu);
        fflush(stdout);
    }
    return 0;
}
