// What the catalogue shows is the query string in the address bar, which is the API's
// own. Parameters that have no control here pass through to the server.

export const params = () => new URLSearchParams(location.search);

// query returns the parameters for the server: the first twelve cars, if the address does not
// say which part of the list it wants.
export function query() {
	const query = params();
	if (!['_page', '_per_page', '_start', '_end'].some((name) => query.get(name))) {
		query.set('_page', 1);
		if (!query.get('_limit')) query.set('_limit', 12);
	}
	return query;
}

export const go = (search, replace) => history[replace ? 'replaceState' : 'pushState'](null, '', search ? `?${search}` : location.pathname);

// change sets parameters, or removes those that are ''. While a text is being typed,
// its view replaces the one before in the history.
export function change(values, replace) {
	const query = params();
	for (const [name, value] of Object.entries(values)) {
		if (value === '') query.delete(name);
		else query.set(name, value);
	}
	go(query.toString().replaceAll('%2C', ','), replace); // commas need no escape in a query
}
