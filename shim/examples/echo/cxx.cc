/* SPDX-License-Identifier: MIT */
/* cxx PORT: the service of this folder once more, in C++17, with poll(2) and no journal. The library is a C library, so:
 *
 * - no exception may leave a callback: guarded() makes -ENOMEM or upg_load_fail() of it, and callbacks are noexcept;
 * - what the library owns is freed by its function: Conn is a std::unique_ptr with upg_conn_close() as its deleter;
 * - after UPG_LEAVE nothing of the service may be touched, and that includes destructors of statics that remove files. Here main()
 *   returns by std::quick_exit(), so that none runs.
 */
#include "shim/examples/echo/echo_v1.pb-c.h"
#include "shim/upgrade.h"

#include <algorithm>
#include <cerrno>
#include <cinttypes>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <list>
#include <memory>
#include <netinet/in.h>
#include <poll.h>
#include <string>
#include <unistd.h>
#include <vector>

namespace {

struct CloseConn {
	void operator()(upg_conn *conn) const noexcept
	{
		upg_conn_close(conn, -1);
	}
};
using Conn = std::unique_ptr<upg_conn, CloseConn>;

struct Client {
	Conn conn;
	uint64_t tag;
	uint64_t lines;
	bool due; /* it may have input that nothing announces */
	bool waits_for_room;
};

struct Service {
	upg *handle = nullptr;
	std::list<Client> clients;
	uint64_t lines = 0;
	uint16_t port = 0;
	int listener = -1;
};

Service &service(void *userdata)
{
	return *static_cast<Service *>(userdata);
}

/* What a callback does, without an exception that leaves it. */
template <typename Work>
int guarded(Work work) noexcept
{
	try {
		return work();
	} catch (const std::bad_alloc &) {
		return -ENOMEM;
	} catch (...) {
		return -EIO;
	}
}

/* ---- the state ---- */

int save_totals(upg_saver *saver, void *userdata) noexcept
{
	Echo__V1__Totals totals;

	echo__v1__totals__init(&totals);
	totals.lines = static_cast<uint32_t>(service(userdata).lines);
	return upg_save(saver, &totals.base);
}

int load_totals(upg_loader *, const ProtobufCMessage *message, void *userdata) noexcept
{
	service(userdata).lines = reinterpret_cast<const Echo__V1__Totals *>(message)->lines;
	return 0;
}

ProtobufCBinaryData borrow(const void *data, size_t size)
{
	return { size, static_cast<uint8_t *>(const_cast<void *>(data)) };
}

int save_clients(upg_saver *saver, void *userdata) noexcept
{
	for (const Client &client : service(userdata).clients) {
		Echo__V1__Client message;
		size_t input_size, output_size;
		const void *input = upg_conn_input(client.conn.get(), &input_size);
		const void *output = upg_conn_output(client.conn.get(), &output_size);

		echo__v1__client__init(&message);
		message.tag = client.tag;
		message.lines = client.lines;
		message.input = borrow(input, input_size);
		message.output = borrow(output, output_size);
		if (int r = upg_save(saver, &message.base); r < 0)
			return r;
	}
	return 0;
}

int load_client(upg_loader *loader, const ProtobufCMessage *message, void *userdata) noexcept
{
	const auto *from = reinterpret_cast<const Echo__V1__Client *>(message);
	Service &self = service(userdata);
	int fd = upg_load_claim(loader, "client", from->tag);
	upg_conn *conn = nullptr;

	if (fd < 0 || upg_conn_open(self.handle, fd, "client", from->tag, &conn) < 0)
		return upg_load_fail(loader, "client %" PRIu64 ": no descriptor, or no memory", from->tag);
	int r = guarded([&] {
		self.clients.push_back({ Conn(conn), from->tag, from->lines, true, false });
		return upg_conn_restore(conn, from->input.data, from->input.len, from->output.data, from->output.len);
	});
	return r < 0 ? upg_load_fail(loader, "client %" PRIu64 ": %s", from->tag, std::strerror(-r)) : 0;
}

uint64_t count_clients(void *userdata) noexcept
{
	return service(userdata).clients.size();
}

void on_go_on(const upg_go_on *go_on, void *userdata) noexcept
{
	const int *end = go_on->lost + go_on->n_lost;

	if (go_on->reason != UPG_CAME_BACK)
		return;
	service(userdata).clients.remove_if([&](const Client &client) {
		return std::binary_search(go_on->lost, end, upg_conn_fd(client.conn.get()));
	});
	for (Client &client : service(userdata).clients)
		client.due = true;
}

/* ---- serving ---- */

/* Return: 0: all that there is is answered and sent; 1: more must be read first; -errno. */
int answer(Service &self, Client &client)
{
	size_t size;
	const char *end;

	for (;;) {
		const auto *input = static_cast<const char *>(upg_conn_input(client.conn.get(), &size));

		end = size ? static_cast<const char *>(std::memchr(input, '\n', size)) : nullptr;
		if (!end)
			return size > 65536 ? -EMSGSIZE : upg_conn_send(client.conn.get());
		const std::string text = std::to_string(client.lines + 1) + " " + std::string(input, end + 1);

		if (int r = upg_conn_put(client.conn.get(), text.data(), text.size()); r < 0)
			return r;
		client.lines++;
		self.lines++;
		if (int r = upg_conn_done(client.conn.get(), static_cast<size_t>(end + 1 - input)); r < 0)
			return r;
		if (int r = upg_conn_send(client.conn.get()); r != 0)
			return r;
	}
}

/* Return: the client is there still. */
bool serve(Service &self, Client &client, short events)
{
	ssize_t n = 1;

	client.due = false;
	if (events & ~POLLOUT)
		n = upg_conn_receive(client.conn.get(), 16384);
	if (n == 0 || (n < 0 && n != -EAGAIN && n != -EINTR))
		return false;
	int r = answer(self, client);

	client.waits_for_room = r == 1;
	return r >= 0;
}

void accept_one(Service &self)
{
	int fd = accept4(self.listener, nullptr, nullptr, SOCK_NONBLOCK | SOCK_CLOEXEC);
	upg_conn *conn;
	uint64_t tag;

	if (fd < 0)
		return;
	if (upg_conn_new(self.handle, fd, "client", &tag, &conn) < 0)
		close(fd);
	else
		self.clients.push_back({ Conn(conn), tag, 0, false, false });
}

void serve_all(Service &self)
{
	std::vector<pollfd> fds;

	for (;;) {
		bool due = false;

		fds = { { upg_fd(self.handle), POLLIN, 0 }, { self.listener, POLLIN, 0 } };
		for (const Client &client : self.clients) {
			fds.push_back({ upg_conn_fd(client.conn.get()), static_cast<short>(client.waits_for_room ? POLLOUT : POLLIN), 0 });
			due |= client.due;
		}
		if (poll(fds.data(), fds.size(), due ? 0 : -1) < 0)
			continue;
		if (fds[0].revents) {
			if (upg_dispatch(self.handle) == UPG_LEAVE)
				return;
			continue; /* all that poll() said is stale */
		}
		size_t i = 2;

		for (auto client = self.clients.begin(); client != self.clients.end(); i++)
			client = (!fds[i].revents && !client->due) || serve(self, *client, fds[i].revents) ? std::next(client) :
													       self.clients.erase(client);
		if (fds[1].revents)
			accept_one(self);
	}
}

int start(upg_received, void *userdata) noexcept
{
	Service &self = service(userdata);
	sockaddr_in address = {};

	address.sin_family = AF_INET;
	address.sin_port = htons(self.port);
	address.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
	self.listener = upg_listen(self.handle, reinterpret_cast<sockaddr *>(&address), sizeof(address),
				   SOCK_STREAM | SOCK_NONBLOCK, 1024);
	return self.listener < 0 ? self.listener : 0;
}

} // namespace

int main(int argc, char **argv)
{
	static Service self;
	static upg_type types[2] = {};
	upg_config config = {};

	self.port = static_cast<uint16_t>(argc == 2 ? std::atoi(argv[1]) : 0);
	types[0].name = "echo.Totals";
	types[0].version = 1;
	types[0].descriptor = &echo__v1__totals__descriptor;
	types[0].save = save_totals;
	types[0].load = load_totals;
	types[1].name = "echo.Client";
	types[1].version = 1;
	types[1].descriptor = &echo__v1__client__descriptor;
	types[1].save = save_clients;
	types[1].load = load_client;
	types[1].count = count_clients;
	types[1].process_only = 1;
	config.service = "echo";
	config.version = ECHO_NAME;
	config.types = types;
	config.n_types = 2;
	config.on_go_on = on_go_on;
	config.userdata = &self;
	if (!self.port || upg_open(&config, &self.handle) < 0) {
		std::fprintf(stderr, "usage: cxx PORT %s\n", upg_why(nullptr));
		return EXIT_FAILURE;
	}
	if (upg_become(self.handle, start, &self) != UPG_SERVE)
		return *upg_why(self.handle) ? EXIT_FAILURE : EXIT_SUCCESS;
	serve_all(self);
	std::quick_exit(EXIT_SUCCESS);
}
