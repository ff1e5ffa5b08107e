/* Tells ThreadSanitizer what std's locks acquire when somebody has to wait for them. That is done inside of std, which comes
 * without instrumentation; all else of a lock is inline, and compiled with the rest. The linker puts these in between
 * (--wrap), and `run` finds out how the functions are called. */

void __tsan_acquire(void *);

#define ACQUIRES(name, function)                                  \
    void name##_real(void *) __asm__("__real_" function);         \
    void name##_wrap(void *) __asm__("__wrap_" function);         \
    void name##_wrap(void *lock) {                                \
        name##_real(lock);                                        \
        __tsan_acquire(lock); /* the word that is the lock comes first in it */ \
    }

ACQUIRES(mutex, MUTEX)
ACQUIRES(read, READ)
ACQUIRES(write, WRITE)
