// Requests to the server. What it refuses, and that it does not answer, become an
// ApiError. Addresses are relative: a proxy may serve the page below a path.

export class ApiError extends Error {
	constructor(message, status, properties) {
		super(message);
		this.status = status; // 0: no answer
		Object.assign(this, { fields: {} }, properties);
	}

	// Whether it may help to ask again. Proxies say 502 and 504 of a server that is gone.
	get passing() {
		return [0, 429, 502, 503, 504].includes(this.status);
	}

	// Whether a write may have been made. The server says when to try again if it was not.
	get unknown() {
		return this.status === 0 || (this.status >= 500 && this.status !== 507 && this.retryAfter === undefined);
	}
}

// send returns what an answer says, and its header: the entity tag, the number of cars in
// all, the catalogue's version, and where the time went.
async function send(path, options) {
	let response, text;
	try {
		response = await fetch(path, options);
		text = await response.text();
	} catch {
		options.signal?.throwIfAborted();
		throw new ApiError('The server does not answer.', 0);
	}
	const header = (name) => response.headers.get(name);
	const timing = Object.fromEntries([...(header('Server-Timing') ?? '').matchAll(/(\w+);dur=([\d.]+)/g)].map(([, name, value]) => [name, Number(value)]));
	let data;
	try {
		data = JSON.parse(text);
	} catch {
		if (response.ok) throw new ApiError('The server’s answer is not JSON.', response.status);
	}
	if (!response.ok) {
		throw new ApiError(`${data?.message ?? response.status}.`, response.status, {
			fields: data?.errors ?? {},
			retryAfter: header('Retry-After') === null ? undefined : Number(header('Retry-After')) || 1,
			timing,
		});
	}
	return { data, status: response.status, etag: header('ETag'), total: Number(header('X-Total-Count')), version: header('Catalogue-Version'), timing };
}

// once gets path, and not from a cache.
export const once = (path, signal) => send(path, { cache: 'no-store', signal });

// read gets path. As long as that may help, it asks again: when the server says, or after
// 1 to 5 seconds. Each second it calls waiting with the reason and what is left.
export async function read(path, { signal, waiting = () => {} } = {}) {
	for (let attempt = 1; ; attempt++) {
		try {
			return await send(path, { signal });
		} catch (error) {
			if (!error.passing) throw error;
			for (let left = error.retryAfter ?? Math.min(attempt, 5); left >= 0; left--) {
				waiting(error.message, left);
				if (left > 0) await pause(1000, signal);
			}
		}
	}
}

function pause(ms, signal) {
	return new Promise((resolve, reject) => {
		const timer = setTimeout(resolve, ms);
		signal?.addEventListener('abort', () => {
			clearTimeout(timer);
			reject(signal.reason);
		}, { once: true });
	});
}

let token;

// authorization is the header that shows the token.
export const authorization = () => (token ? { Authorization: `Bearer ${token}` } : {});

// write changes something, once: only the user may try again, since the first time may
// have worked. 401 says that nothing was done: it is asked again with the token.
export async function write(method, path, { body, etag, signal } = {}) {
	for (;;) {
		const used = token;
		const headers = { 'Content-Type': 'application/json', ...authorization() };
		if (etag) headers['If-Match'] = etag;
		try {
			return await send(path, { method, headers, signal, body: body && JSON.stringify(body) });
		} catch (error) {
			if (error.status !== 401) throw error;
			if (token === used) token = prompt(`${used ? 'The server refuses this token.' : 'Everybody may look at these cars, but only who has the token may change them.'} Enter the one that was set as CARS_TOKEN when the server was started:`)?.replace(/[^!-~]/g, '');
			if (!token) throw error;
		}
	}
}
