/*
 * kvm_engine.h - what the rest of the process must know of the KVM engine
 *
 * The engine itself is `kvm_engine`, declared in partition.h.
 */
#ifndef ENGINE_KVM_KVM_ENGINE_H
#define ENGINE_KVM_KVM_ENGINE_H

#include <signal.h>

/*
 * Another thread gets a VP thread out of KVM_RUN with this signal. The engine installs a handler
 * that only counts, without SA_RESTART, when the first partition is created, and unblocks the
 * signal in each thread that calls vp_run(). Nothing else in the process may use it. It can
 * reach a VP thread shortly after vp_run() returned: system calls there may see EINTR.
 */
#define KVM_KICK_SIGNAL (SIGRTMIN + 4)

#endif
