// Requests to the server. Addresses are relative: a proxy may serve the page below a path.

class ApiError extends Error {
	constructor(message, status, more) {
		super(message);
		Object.assign(this, { status, ...more }); // status 0: no answer
	}

	// Whether asking again may help. 502 and 504 are of proxies.
	get passing() {
		return [0, 429, 502, 503, 504].includes(this.status);
	}

	// Whether a write may have been made. Retry-After says that it was not.
	get unknown() {
		return this.status === 0 || (this.status >= 500 && this.status !== 507 && !this.retryAfter);
	}
}

// named returns the numbers that pattern finds in a text, by name.
export const named = (text, pattern) => Object.fromEntries([...text.matchAll(pattern)].map(([, name, value]) => [name, Number(value)]));

async function send(path, options) {
	let response, data;
	try {
		response = await fetch(path, options);
		data = await response.json();
	} catch (error) {
		options.signal?.throwIfAborted();
		if (!(error instanceof SyntaxError)) throw new ApiError('The server does not answer.', 0);
		if (response.ok) throw new ApiError('The server’s answer is not JSON.', response.status);
	}
	const { ok, status, headers } = response;
	const timing = named(headers.get('Server-Timing') ?? '', /(\w+);dur=([\d.]+)/g);
	if (!ok) {
		const retryAfter = headers.has('Retry-After') && (Number(headers.get('Retry-After')) || 1);
		throw new ApiError(`${data?.message ?? status}.`, status, { fields: data?.errors, retryAfter, timing });
	}
	return { data, status, timing, etag: headers.get('ETag'), total: Number(headers.get('X-Total-Count')), version: headers.get('Catalogue-Version') };
}

export const once = (path, signal) => send(path, { cache: 'no-store', signal });

// read gets path. As long as that may help, it asks again: when the server says, or after 1
// to 5 s. Each second it calls waiting with the reason and the seconds that are left.
export async function read(path, { signal, waiting = () => {} } = {}) {
	for (let attempt = 1; ; attempt++) {
		try {
			return await send(path, { signal });
		} catch (error) {
			if (!error.passing) throw error;
			for (let left = error.retryAfter || Math.min(attempt, 5); left >= 0; left--) {
				waiting(error.message, left);
				if (left > 0) await pause(1000, signal);
			}
		}
	}
}

export const pause = (ms, signal) => new Promise((resolve, reject) => {
	setTimeout(resolve, ms);
	signal?.addEventListener('abort', () => reject(signal.reason), { once: true });
});

let token;

export const authorization = () => (token ? { Authorization: `Bearer ${token}` } : {});

// write sends a change once: only the user may try again, since the first time may have
// worked. After 401 nothing was done: it asks for the token, and tries again.
export async function write(method, path, { body, etag, signal } = {}) {
	for (;;) {
		const used = token;
		const headers = { 'Content-Type': 'application/json', ...authorization(), ...(etag && { 'If-Match': etag }) };
		try {
			return await send(path, { method, headers, signal, body: body && JSON.stringify(body) });
		} catch (error) {
			if (error.status !== 401) throw error;
			if (token === used) token = prompt(`${used ? 'The server refuses this token.' : 'Changing these cars needs a token.'} Enter the one that was set as CARS_TOKEN when the server was started:`)?.replace(/[^!-~]/g, '');
			if (!token) throw error;
		}
	}
}
