// Requests to the server. What it refuses, and that it does not answer, become an
// ApiError.

export class ApiError extends Error {
	constructor(message, status, properties) {
		super(message);
		this.status = status; // 0: no answer
		Object.assign(this, { fields: {} }, properties);
	}

	// Whether it may help to ask again. 502 and 504 are what a proxy says of a server
	// that is gone.
	get passing() {
		return [0, 429, 502, 503, 504].includes(this.status);
	}

	// Whether a write may have been made all the same. The server says when to try
	// again if it was not.
	get unknown() {
		return this.status === 0 || (this.status >= 500 && this.status !== 507 && this.retryAfter === undefined);
	}
}

// Of an answer: what it says, its ETag, and how many cars there are in all.
async function send(path, options) {
	let response, text;
	try {
		response = await fetch(path, options);
		text = await response.text();
	} catch {
		options.signal?.throwIfAborted();
		throw new ApiError('The server does not answer.', 0);
	}
	let data;
	try {
		data = JSON.parse(text);
	} catch {
		if (response.ok) throw new ApiError('The server’s answer is not JSON.', response.status);
	}
	if (!response.ok) {
		throw new ApiError(`${data?.message ?? response.status}.`, response.status, {
			fields: data?.errors ?? {},
			retryAfter: response.headers.has('Retry-After') ? Number(response.headers.get('Retry-After')) || 1 : undefined,
		});
	}
	return { data, etag: response.headers.get('ETag'), total: Number(response.headers.get('X-Total-Count')) };
}

// read gets path. As long as that may help, it asks again: when the server says, or
// after 1 to 5 seconds. Each second until then, it calls waiting with the reason and
// what is left; 0 means that it is asking.
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

// write changes something, once: nobody but the user may try again, since the first
// time may have worked. Only 401 is asked again, with the token: it says that nothing
// was done.
export async function write(method, path, { body, etag, signal } = {}) {
	for (;;) {
		const headers = { 'Content-Type': 'application/json' };
		if (etag) headers['If-Match'] = etag;
		if (token) headers.Authorization = `Bearer ${token}`;
		try {
			return await send(path, { method, headers, signal, body: body && JSON.stringify(body) });
		} catch (error) {
			if (error.status !== 401 || !(token = prompt(error.message)?.replace(/[^!-~]/g, ''))) throw error;
		}
	}
}
