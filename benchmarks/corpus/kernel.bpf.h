/* SPDX-License-Identifier: Apache-2.0 */
/* The kernel's structures that the twins read, with the fields that they read (CO-RE). */
#ifndef BEEWIRE_CORPUS_KERNEL_H
#define BEEWIRE_CORPUS_KERNEL_H

#include <linux/bpf.h>

#include <bpf/bpf_core_read.h>
#include <bpf/bpf_helpers.h>

#define TASK_COMM_LEN 16

#pragma clang attribute push(__attribute__((preserve_access_index)), apply_to = record)

typedef struct {
	int counter;
} atomic_t;

struct signal_struct {
	atomic_t live;
	unsigned int oom_score_adj_min;
};

typedef struct {
	unsigned int val;
} kuid_t;

typedef struct {
	unsigned int val;
} kgid_t;

struct cred {
	kuid_t uid;
	kgid_t gid;
	kuid_t euid;
	kgid_t egid;
	kuid_t fsuid;
};

struct ns_common {
	unsigned int inum;
};

struct pid_namespace {
	struct ns_common ns;
	unsigned int level;
};

struct mnt_namespace {
	struct ns_common ns;
};

struct net {
	struct ns_common ns;
};

struct nsproxy {
	struct mnt_namespace *mnt_ns;
	struct net *net_ns;
	struct pid_namespace *pid_ns_for_children;
};

struct mm_struct {
	unsigned long total_vm;
	unsigned long data_vm;
	unsigned long stack_vm;
	unsigned long arg_start;
	unsigned long arg_end;
};

struct task_struct {
	struct task_struct *real_parent;
	struct task_struct *group_leader;
	struct signal_struct *signal;
	const struct cred *cred;
	struct nsproxy *nsproxy;
	struct mm_struct *mm;
	int pid;
	int tgid;
	unsigned int flags;
	int prio;
	int static_prio;
	unsigned long nvcsw;
	unsigned long nivcsw;
	unsigned long min_flt;
	unsigned long maj_flt;
	__u64 start_time;
	__u64 utime;
	__u64 stime;
	int exit_code;
	char comm[TASK_COMM_LEN];
};

struct trace_event_raw_sched_process_fork {
	int parent_pid;
	int child_pid;
};

struct sock_common {
	unsigned short skc_family;
	__u16 skc_num;
	__u16 skc_dport;
};

struct sock {
	struct sock_common __sk_common;
};

#pragma clang attribute pop

#endif
