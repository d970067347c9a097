/* SPDX-License-Identifier: MIT */
/* Internal to the room: how descriptors of generated code become a FileDescriptorSet again; the essay is in describe.c. */
#pragma once

#include "statefmt/arena.h"
#include "statefmt/schema.h"

/* A message or an enum that is to be described, or an outer message that is only known by name. */
struct node {
	const char *name;    /* full */
	const char *package;
	const char *path;    /* within @name: what follows the package */
	const ProtobufCMessageDescriptor *message; /* both NULL: an outer message, known by name only */
	const ProtobufCEnumDescriptor *enumeration;
	struct node *outer;  /* NULL: not nested */
	bool proto3;         /* of the outermost: the whole tree */
	Google__Protobuf__DescriptorProto *proto;
};

struct describer {
	struct sf_arena arena;
	struct node **nodes; /* sorted by name once all are there */
	size_t n, room;
	const void **seen;   /* open addressing: descriptors by address */
	size_t n_seen, seen_room;
	struct why *why;
};

/** describer_take() - Take @n zeroed elements, at least one. Return: NULL if memory is out. */
void *describer_take(struct describer *d, size_t n, size_t element_bytes);

/** describer_no_memory() - Return: the status for a failed describer_take(). */
int describer_no_memory(const struct describer *d);

/** describer_print() - Format a text that lives as long as @d. */
int describer_print(struct describer *d, char **ret, const char *fmt, ...) __attribute__((format(printf, 3, 4)));

/** describer_lend() - Lend a text to a struct of protobuf-c that is only packed: its pointers are not const. */
char *describer_lend(const char *text);

struct node *node_outermost(struct node *node);

/** node_describe_message() - Fill in @node->proto; without what is nested in it. */
int node_describe_message(struct describer *d, struct node *node);

int enum_describe(struct describer *d, const ProtobufCEnumDescriptor *enumeration,
		  Google__Protobuf__EnumDescriptorProto **ret);
