/* SPDX-License-Identifier: MIT */
/* Graphs through the whole way: save callbacks into a stream in memory, load callbacks out of it. */
#include "shim/core/upg.h"
#include "shim/state/load.h"
#include "shim/state/save.h"

#include "base/clock.h"
#include "base/fd.h"
#include "tests/shim/node.pb-c.h"

#include <criterion/criterion.h>
#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

TestSuite(refs, .timeout = 120);

struct tag;

struct node {
	uint32_t value;
	struct tag *owner;
	size_t n_edges;
	struct node **edges;
};

struct tag {
	uint32_t value;
	struct node *first;
};

struct graph {
	struct node *nodes;
	size_t n, cap;
	struct tag tags[4];
	size_t n_tags;
	/* Tampering. */
	bool forget_last_node;   /* is referred to and never saved */
	bool same_id_twice;
	bool swap_types;         /* an edge leads to a tag */
	const char *type_to_ask; /* for edges; NULL: graph.Node */
	bool any_type;
};

/* ---- an application ---- */

static int save_nodes(struct upg_saver *saver, void *userdata)
{
	const struct graph *graph = userdata;
	uint64_t edges[64];
	int r = 0;

	for (size_t i = 0; r == 0 && i < graph->n - graph->forget_last_node; i++) {
		const struct node *node = &graph->nodes[i];
		Graph__Node message = GRAPH__NODE__INIT;

		message.id = upg_ref(saver, graph->same_id_twice ? &graph->nodes[0] : node);
		message.value = node->value;
		for (size_t e = 0; e < node->n_edges; e++)
			edges[e] = upg_ref(saver, graph->swap_types ? (const void *)&graph->tags[0] : node->edges[e]);
		message.edges = edges;
		message.n_edges = node->n_edges;
		message.owner = upg_ref(saver, node->owner);
		r = upg_save(saver, &message.base);
	}
	return r;
}

static int load_node(struct upg_loader *loader, const ProtobufCMessage *from, void *userdata)
{
	struct graph *graph = userdata;
	const Graph__Node *message = (const Graph__Node *)from;
	struct node *node = &graph->nodes[graph->n++];
	const char *type = graph->any_type ? NULL : graph->type_to_ask ? graph->type_to_ask : "graph.Node";
	int r;

	cr_assert(graph->n <= graph->cap);
	node->value = message->value;
	node->n_edges = message->n_edges;
	node->edges = calloc(node->n_edges + 1, sizeof(struct node *));
	r = upg_define(loader, message->id, node);
	for (size_t i = 0; r == 0 && i < node->n_edges; i++)
		r = upg_resolve(loader, message->edges[i], type, (void **)&node->edges[i]);
	return r < 0 ? r : upg_resolve(loader, message->owner, "graph.Tag", (void **)&node->owner);
}

static int save_tags(struct upg_saver *saver, void *userdata)
{
	const struct graph *graph = userdata;
	int r = 0;

	for (size_t i = 0; r == 0 && i < graph->n_tags; i++) {
		Graph__Tag message = GRAPH__TAG__INIT;

		message.id = upg_ref(saver, &graph->tags[i]);
		message.value = graph->tags[i].value;
		message.first = upg_ref(saver, graph->tags[i].first);
		r = upg_save(saver, &message.base);
	}
	return r;
}

static int load_tag(struct upg_loader *loader, const ProtobufCMessage *from, void *userdata)
{
	struct graph *graph = userdata;
	const Graph__Tag *message = (const Graph__Tag *)from;
	struct tag *tag = &graph->tags[graph->n_tags++];
	int r = upg_define(loader, message->id, tag);

	tag->value = message->value;
	return r < 0 ? r : upg_resolve(loader, message->first, "graph.Node", (void **)&tag->first);
}

static const struct upg_type types[] = {
	{ .name = "graph.Node", .version = 1, .descriptor = &graph__node__descriptor, .save = save_nodes, .load = load_node },
	{ .name = "graph.Tag", .version = 1, .descriptor = &graph__tag__descriptor, .save = save_tags, .load = load_tag },
};

/* ---- around it ---- */

static struct graph *graph_new(size_t cap)
{
	struct graph *graph = calloc(1, sizeof(*graph));

	if (!graph || !(graph->nodes = calloc(cap, sizeof(*graph->nodes))))
		abort();
	graph->cap = cap;
	return graph;
}

static struct node *add_node(struct graph *graph, uint32_t value, size_t n_edges)
{
	struct node *node = &graph->nodes[graph->n++];

	node->value = value;
	node->n_edges = n_edges;
	node->edges = calloc(n_edges + 1, sizeof(struct node *));
	if (!node->edges)
		abort();
	return node;
}

static void graph_free(struct graph *graph)
{
	for (size_t i = 0; i < graph->n; i++)
		free(graph->nodes[i].edges);
	free(graph->nodes);
	free(graph);
}

static struct upg *upg_make(struct upg_config *config, struct graph *graph)
{
	struct upg *upg;

	*config = (struct upg_config){ .types = types, .n_types = 2, .userdata = graph };
	unsetenv(WIRE_FD_ENV);
	cr_assert_eq(upg_open(config, &upg), 0);
	return upg;
}

static int save_to_memory(struct graph *graph, Upgraded__Wire__Totals *ret_totals)
{
	Upgraded__Wire__Prepare prepare = UPGRADED__WIRE__PREPARE__INIT;
	Upgraded__Wire__Schema schemas[2], *targets[2] = { &schemas[0], &schemas[1] };
	struct upg_config config;
	struct upg *upg = upg_make(&config, graph);
	int fd = memfd_create("state", MFD_CLOEXEC);

	for (size_t i = 0; i < 2; i++) {
		upgraded__wire__schema__init(&schemas[i]);
		schemas[i].name = (char *)(uintptr_t)types[i].name;
		schemas[i].version = 1;
	}
	prepare.targets = targets;
	prepare.n_targets = 2;
	prepare.commit_deadline_us = UINT64_MAX;
	cr_assert_eq(state_save(upg->state, fd, &prepare, ret_totals, &upg->why), 0, "%s", upg->why.text);
	cr_assert_null(upg->state->refs.slots, "the table is given back when the save is over");
	cr_assert_eq(lseek(fd, 0, SEEK_SET), 0);
	upg_free(upg);
	return fd;
}

static void no_header(void *arg, const struct sf_header *header)
{
	(void)arg, (void)header;
}

/* Closes @fd. */
static int load_from_memory(int fd, struct graph *graph, struct why *why)
{
	struct upg_config config;
	struct upg *upg = upg_make(&config, graph);
	Upgraded__Wire__Receive receive = UPGRADED__WIRE__RECEIVE__INIT;
	int r;

	receive.deadline_us = UINT64_MAX;
	r = state_load(upg->state, fd, &receive, no_header, NULL, &upg->why);

	*why = upg->why;
	if (r == 0)
		cr_assert_null(upg->state->refs.entries, "the table is given back when the load is over");
	close(fd);
	upg_free(upg);
	return r;
}

/* A copy that went through a stream. */
static struct graph *travel(struct graph *from)
{
	Upgraded__Wire__Totals totals = UPGRADED__WIRE__TOTALS__INIT;
	struct graph *to = graph_new(from->n);
	struct why why;

	cr_assert_eq(load_from_memory(save_to_memory(from, &totals), to, &why), 0, "%s", why.text);
	return to;
}

/* The saved graph is refused; the reason has to say @what. */
static void assert_refused(struct graph *from, struct graph *to, int rc, const char *what)
{
	Upgraded__Wire__Totals totals = UPGRADED__WIRE__TOTALS__INIT;
	struct why why;

	cr_assert_eq(load_from_memory(save_to_memory(from, &totals), to, &why), rc, "%s", why.text);
	cr_assert(strstr(why.text, what), "\"%s\" does not say \"%s\"", why.text, what);
	graph_free(from);
	graph_free(to);
}

/* Records keep their order, so nodes correspond by index, and so must whatever they point to. */
static void assert_alike(const struct graph *a, const struct graph *b)
{
	cr_assert_eq(a->n, b->n);
	cr_assert_eq(a->n_tags, b->n_tags);
	for (size_t i = 0; i < a->n; i++) {
		const struct node *x = &a->nodes[i], *y = &b->nodes[i];

		if (x->value != y->value || x->n_edges != y->n_edges)
			cr_assert(false, "node %zu differs", i);
		for (size_t e = 0; e < x->n_edges; e++)
			if (x->edges[e] ? y->edges[e] != &b->nodes[x->edges[e] - a->nodes] : y->edges[e] != NULL)
				cr_assert(false, "edge %zu of node %zu differs", e, i);
		if (x->owner ? y->owner != &b->tags[x->owner - a->tags] : y->owner != NULL)
			cr_assert(false, "the owner of node %zu differs", i);
	}
	for (size_t i = 0; i < a->n_tags; i++)
		cr_assert(a->tags[i].first ? b->tags[i].first == &b->nodes[a->tags[i].first - a->nodes] : !b->tags[i].first);
}

/* ---- graphs ---- */

Test(refs, a_cycle_comes_back_as_a_cycle)
{
	struct graph *graph = graph_new(3), *copy;

	for (uint32_t i = 0; i < 3; i++)
		add_node(graph, i, 1);
	for (size_t i = 0; i < 3; i++)
		graph->nodes[i].edges[0] = &graph->nodes[(i + 1) % 3];
	copy = travel(graph);
	cr_assert_eq(copy->nodes[0].edges[0]->edges[0]->edges[0], &copy->nodes[0]);
	assert_alike(graph, copy);
	graph_free(copy);
	graph_free(graph);
}

Test(refs, a_shared_object_stays_one_object)
{
	struct graph *graph = graph_new(3), *copy;

	for (uint32_t i = 0; i < 3; i++)
		add_node(graph, i, i ? 1 : 0);
	graph->nodes[1].edges[0] = graph->nodes[2].edges[0] = &graph->nodes[0];
	copy = travel(graph);
	cr_assert_eq(copy->nodes[1].edges[0], &copy->nodes[0]);
	cr_assert_eq(copy->nodes[2].edges[0], &copy->nodes[0]);
	graph_free(copy);
	graph_free(graph);
}

Test(refs, a_reference_is_filled_when_its_object_comes_later)
{
	struct graph *graph = graph_new(2), *copy;

	add_node(graph, 0, 2);
	add_node(graph, 1, 0);
	graph->nodes[0].edges[0] = graph->nodes[0].edges[1] = &graph->nodes[1];
	copy = travel(graph);
	cr_assert_eq(copy->nodes[0].edges[0], &copy->nodes[1]);
	cr_assert_eq(copy->nodes[0].edges[1], &copy->nodes[1]);
	graph_free(copy);
	graph_free(graph);
}

Test(refs, an_object_may_point_to_itself)
{
	struct graph *graph = graph_new(1), *copy;

	add_node(graph, 7, 1);
	graph->nodes[0].edges[0] = &graph->nodes[0];
	copy = travel(graph);
	cr_assert_eq(copy->nodes[0].edges[0], &copy->nodes[0]);
	graph_free(copy);
	graph_free(graph);
}

Test(refs, null_is_0_on_the_wire_and_null_again)
{
	struct graph *graph = graph_new(1), *copy;

	add_node(graph, 7, 1);
	copy = travel(graph);
	cr_assert_null(copy->nodes[0].edges[0]);
	cr_assert_null(copy->nodes[0].owner);
	graph_free(copy);
	graph_free(graph);
}

Test(refs, objects_of_two_types_point_to_each_other)
{
	struct graph *graph = graph_new(2), *copy;

	add_node(graph, 1, 0)->owner = &graph->tags[1];
	add_node(graph, 2, 0)->owner = &graph->tags[0];
	graph->tags[0].first = &graph->nodes[1];
	graph->n_tags = 2;
	copy = travel(graph);
	assert_alike(graph, copy);
	graph_free(copy);
	graph_free(graph);
}

/* ---- what is refused ---- */

Test(refs, what_never_came_is_refused_by_type_and_id)
{
	struct graph *graph = graph_new(4);

	for (uint32_t i = 0; i < 4; i++)
		add_node(graph, i, i < 3);
	for (size_t i = 0; i < 3; i++)
		graph->nodes[i].edges[0] = &graph->nodes[3];
	graph->forget_last_node = true;
	assert_refused(graph, graph_new(4), -ENOENT, "graph.Node 2 is referred to 3 times and never came");
}

Test(refs, others_that_never_came_are_counted)
{
	struct graph *graph = graph_new(3);

	add_node(graph, 0, 1)->owner = &graph->tags[0];
	graph->nodes[0].edges[0] = add_node(graph, 1, 0);
	graph->forget_last_node = true;
	assert_refused(graph, graph_new(2), -ENOENT, "graph.Node 2 is referred to 1 time and never came, nor did 1 others");
}

Test(refs, an_id_that_comes_twice_is_refused)
{
	struct graph *graph = graph_new(2);

	add_node(graph, 0, 0);
	add_node(graph, 1, 0);
	graph->same_id_twice = true;
	assert_refused(graph, graph_new(2), -EEXIST, "the id 1 of a graph.Node is already that of a graph.Node");
}

Test(refs, an_object_of_another_type_is_refused)
{
	struct graph *graph = graph_new(1);

	add_node(graph, 0, 1);
	graph->swap_types = true;
	graph->n_tags = 1;
	assert_refused(graph, graph_new(1), -EPROTO, "is a graph.Tag but was referred to as a graph.Node");
}

Test(refs, references_that_disagree_about_the_type_are_refused)
{
	struct graph *graph = graph_new(1);

	add_node(graph, 0, 1)->owner = &graph->tags[0];
	graph->swap_types = true;
	graph->n_tags = 1;
	assert_refused(graph, graph_new(1), -EPROTO, "is referred to as a graph.Tag but was before as a graph.Node");
}

Test(refs, a_reference_to_any_type_takes_what_comes)
{
	struct graph *graph = graph_new(1), *copy = graph_new(1);
	Upgraded__Wire__Totals totals = UPGRADED__WIRE__TOTALS__INIT;
	struct why why;

	add_node(graph, 0, 1);
	graph->swap_types = true;
	graph->n_tags = 1;
	copy->any_type = true;
	cr_assert_eq(load_from_memory(save_to_memory(graph, &totals), copy, &why), 0, "%s", why.text);
	cr_assert_eq((void *)copy->nodes[0].edges[0], (void *)&copy->tags[0]);
	graph_free(copy);
	graph_free(graph);
}

Test(refs, a_type_nobody_has_is_refused)
{
	struct graph *graph = graph_new(1), *copy = graph_new(1);

	add_node(graph, 0, 1);
	copy->type_to_ask = "graph.Nothing";
	assert_refused(graph, copy, -EINVAL, "no type is called graph.Nothing");
}

Test(refs, an_object_without_an_id_is_refused)
{
	struct refs refs = { 0 };
	struct why why;
	int object;

	cr_assert_eq(refs_define(&refs, types, 0, 0, &object, &why), -EINVAL);
	cr_assert_eq(refs_define(&refs, types, 1, 0, NULL, &why), -EINVAL);
	refs_done(&refs);
}

Test(refs, an_absurd_id_is_refused_or_costs_next_to_nothing)
{
	struct refs refs = { 0 };
	struct why why;
	void *where = &where;
	int object;

	cr_assert_eq(refs_define(&refs, types, UINT64_MAX, 0, &object, &why), -EINVAL);
	cr_assert_eq(refs_resolve(&refs, types, UINT64_C(1) << 40, 0, &where, &why), -EINVAL);
	cr_assert_null(where);
	cr_assert(strstr(why.text, "no object's id"), "%s", why.text);
	/* A gigabyte if it were touched all the way. */
	cr_assert_eq(refs_define(&refs, types, 60000000, 0, &object, &why), 0, "%s", why.text);
	cr_assert_eq(refs_resolve(&refs, types, 60000000, 0, &where, &why), 0);
	cr_assert_eq(where, (void *)&object);
	refs_done(&refs);
}

/* ---- numbers ---- */

Test(refs, ids_are_dense_and_stay_during_a_save)
{
	struct refs refs = { 0 };
	char objects[1000];

	cr_assert_eq(refs_id(&refs, NULL), 0);
	for (int round = 0; round < 2; round++)
		for (size_t i = 0; i < sizeof(objects); i++)
			cr_assert_eq(refs_id(&refs, &objects[i]), i + 1);
	refs_done(&refs);
}

Test(refs, what_was_loaded_is_saved_under_the_ids_it_came_with)
{
	struct refs refs = { 0 };
	struct why why;
	int objects[4];

	cr_assert_eq(refs_define(&refs, types, 9, 0, &objects[0], &why), 0);
	cr_assert_eq(refs_define(&refs, types, 2, 0, &objects[1], &why), 0);
	cr_assert_eq(refs_define(&refs, types, 5, 1, &objects[2], &why), 0);
	cr_assert_eq(refs_turn(&refs), 0);
	cr_assert_eq(refs_id(&refs, &objects[2]), 5);
	cr_assert_eq(refs_id(&refs, &objects[0]), 9);
	cr_assert_eq(refs_id(&refs, &objects[3]), 10, "one that did not come gets an id of its own");
	cr_assert_eq(refs_id(&refs, &objects[1]), 2);
	refs_done(&refs);
}

static uint32_t random_below(uint64_t *state, uint32_t n)
{
	*state = *state * UINT64_C(6364136223846793005) + UINT64_C(1442695040888963407);
	return (uint32_t)((*state >> 33) % n);
}

static struct graph *random_graph(uint64_t seed, uint32_t n)
{
	struct graph *graph = graph_new(n);

	graph->n_tags = random_below(&seed, 5);
	for (uint32_t i = 0; i < n; i++)
		add_node(graph, i, random_below(&seed, 6));
	for (uint32_t i = 0; i < n; i++) {
		struct node *node = &graph->nodes[i];

		for (size_t e = 0; e < node->n_edges; e++)
			node->edges[e] = random_below(&seed, 8) ? &graph->nodes[random_below(&seed, n)] : NULL;
		if (graph->n_tags && random_below(&seed, 2))
			node->owner = &graph->tags[random_below(&seed, (uint32_t)graph->n_tags)];
	}
	for (size_t i = 0; i < graph->n_tags; i++)
		graph->tags[i].first = &graph->nodes[random_below(&seed, n)];
	return graph;
}

Test(refs, every_graph_comes_back_with_the_same_shape)
{
	for (uint64_t seed = 1; seed <= 300; seed++) {
		struct graph *graph = random_graph(seed, (uint32_t)(1 + seed * 7 % 211)), *copy = travel(graph);

		assert_alike(graph, copy);
		graph_free(copy);
		graph_free(graph);
	}
}

Test(refs, a_copy_is_saved_as_the_same_records)
{
	Upgraded__Wire__Totals first = UPGRADED__WIRE__TOTALS__INIT, second = UPGRADED__WIRE__TOTALS__INIT;
	struct graph *graph = random_graph(99, 150), *copy = graph_new(150);
	struct why why;

	cr_assert_eq(load_from_memory(save_to_memory(graph, &first), copy, &why), 0);
	close(save_to_memory(copy, &second));
	cr_assert_eq(first.records, second.records);
	cr_assert_eq(first.digest_lo, second.digest_lo);
	cr_assert_eq(first.digest_hi, second.digest_hi);
	graph_free(copy);
	graph_free(graph);
}

Test(refs, a_million_objects_take_seconds_at_most)
{
	const uint32_t n = 1000000;
	struct graph *graph = graph_new(n), *copy;
	uint64_t since_us, state = 1;

	for (uint32_t i = 0; i < n; i++)
		add_node(graph, i, 2);
	for (uint32_t i = 0; i < n; i++) {
		graph->nodes[i].edges[0] = &graph->nodes[random_below(&state, n)];
		graph->nodes[i].edges[1] = &graph->nodes[(i + 1) % n];
	}
	since_us = clock_now_us();
	copy = travel(graph);
	cr_assert_lt(clock_now_us() - since_us, 30 * USEC_PER_SEC);
	assert_alike(graph, copy);
	graph_free(copy);
	graph_free(graph);
}
