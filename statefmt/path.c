/* SPDX-License-Identifier: MIT */
/* The way from one schema version to another.
 *
 * Every usable step brings a record nearer to the target version, and none goes past it. So only the distance to the target counts:
 * going up and going down are the same search, over edges from `far` to `near`. In the order of `far`, each edge is visited once,
 * after every edge that could follow it. Among equally short ways, the one whose steps are longer first is taken.
 */
#include "base/why.h"
#include "statefmt/statefmt.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

struct edge {
	uint32_t far, near; /* distance to the target before and after the step */
	size_t index;       /* in the caller's array */
	size_t steps;       /* to the target, this one included; 0: it does not lead there */
	size_t next;        /* the edge that follows, if @near is not the target itself */
	bool reached;       /* from the start; only asked when there is no way */
};

static int edge_compare(const void *a, const void *b)
{
	const struct edge *x = a, *y = b;

	if (x->far != y->far)
		return x->far < y->far ? -1 : 1;
	return (x->near > y->near) - (x->near < y->near);
}

/* Find the first edge that starts at @far or beyond. */
static size_t edge_find(const struct edge *edges, size_t n, uint32_t far)
{
	size_t low = 0;

	while (low < n) {
		size_t middle = low + (n - low) / 2;

		if (edges[middle].far < far)
			low = middle + 1;
		else
			n = middle;
	}
	return low;
}

/* Collect the steps of @type that lie between @from and @to. */
static size_t edges_collect(struct edge *edges, const struct sf_migration *migrations, size_t n, const char *type,
			    uint32_t from, uint32_t to)
{
	size_t found = 0;

	for (size_t i = 0; i < n; i++) {
		uint32_t a = migrations[i].from, b = migrations[i].to;
		bool up = from <= a && a < b && b <= to;
		bool down = from >= a && a > b && b >= to;

		if ((!up && !down) || strcmp(migrations[i].type, type) != 0)
			continue;
		edges[found++] = (struct edge){
			.far = up ? to - a : a - to,
			.near = up ? to - b : b - to,
			.index = i,
		};
	}
	qsort(edges, found, sizeof(*edges), edge_compare);
	return found;
}

/* The best edge that starts at distance @far: fewest steps, then the longest step. Return: @n if none leads there. */
static size_t edge_best(const struct edge *edges, size_t n, uint32_t far)
{
	size_t best = n;

	for (size_t i = edge_find(edges, n, far); i < n && edges[i].far == far; i++)
		if (edges[i].steps && (best == n || edges[i].steps < edges[best].steps))
			best = i;
	return best;
}

/* From near to far, so that the edges that could follow an edge are solved before it. */
static void edges_solve(struct edge *edges, size_t n)
{
	for (size_t i = 0; i < n; i++) {
		size_t next = edges[i].near ? edge_best(edges, n, edges[i].near) : n;

		if (edges[i].near && next == n)
			continue;
		edges[i].steps = edges[i].near ? edges[next].steps + 1 : 1;
		edges[i].next = next;
	}
}

/* Return: how near to the target the steps lead from distance @far. */
static uint32_t edges_reach(struct edge *edges, size_t n, uint32_t far)
{
	uint32_t nearest = far;

	for (size_t i = n; i-- > 0;) {
		if (edges[i].far != far && !edges[i].reached)
			continue;
		if (edges[i].near < nearest)
			nearest = edges[i].near;
		for (size_t j = edge_find(edges, n, edges[i].near); j < n && edges[j].far == edges[i].near; j++)
			edges[j].reached = true;
	}
	return nearest;
}

static int edges_check_unique(const struct edge *edges, size_t n, const struct sf_migration *migrations,
			      struct why *why)
{
	for (size_t i = 1; i < n; i++) {
		const struct sf_migration *step = &migrations[edges[i].index];

		if (edge_compare(&edges[i - 1], &edges[i]) == 0)
			return why_set(why, SF_PATH_AMBIGUOUS, "\"%s\" has two migrations from version %u to %u: leave one",
				       step->type, step->from, step->to);
	}
	return SF_PATH_FOUND;
}

static int path_take(struct edge *edges, size_t n, const char *type, uint32_t from, uint32_t to, size_t *ret_steps,
		     size_t cap, size_t *ret_n, struct why *why)
{
	uint32_t far = from < to ? to - from : from - to;
	size_t at = edge_best(edges, n, far), steps;

	if (at == n) {
		uint32_t near = edges_reach(edges, n, far);

		return why_set(why, SF_PATH_NONE, "no migration of \"%s\" leads from version %u to %u: the walk gets stuck "
			       "at version %u; add the step from there", type, from, to, from < to ? to - near : to + near);
	}
	steps = edges[at].steps;
	if (steps > cap)
		return why_set(why, SF_PATH_NONE, "\"%s\" takes %zu migrations from version %u to %u, over the limit of %zu",
			       type, steps, from, to, cap);
	for (size_t i = 0; i < steps; i++, at = edges[at].next)
		ret_steps[i] = edges[at].index;
	*ret_n = steps;
	return SF_PATH_FOUND;
}

int sf_path_find(const struct sf_migration *migrations, size_t n, const char *type, uint32_t from, uint32_t to,
		 size_t *ret_steps, size_t cap, size_t *ret_n, struct why *why)
{
	struct edge *edges;
	size_t found;
	int r;

	if (from == to) {
		*ret_n = 0;
		return SF_PATH_FOUND;
	}
	edges = calloc(n + 1, sizeof(*edges));
	if (!edges)
		return why_errno(why, -ENOMEM, "%zu migrations", n);
	found = edges_collect(edges, migrations, n, type, from, to);
	r = edges_check_unique(edges, found, migrations, why);
	if (r == SF_PATH_FOUND) {
		edges_solve(edges, found);
		r = path_take(edges, found, type, from, to, ret_steps, cap, ret_n, why);
	}
	free(edges);
	return r;
}
