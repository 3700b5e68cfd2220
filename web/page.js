// What all parts of the page share: its elements, and the notice at its edge.

export const element = (id) => document.getElementById(id);

export const on = (id, type, listener) => element(id).addEventListener(type, listener);

export const make = (name, textContent, more) => Object.assign(document.createElement(name), { textContent, ...more });

export const value = (name, text) => make(name, text || '–', { dir: 'auto' });

export const listTitle = element('catalogue-title');

const toast = element('toast');
const undo = element('undo');

// say shows message, an array of texts and elements, until it is dismissed or another comes.
// onUndo is for a button.
export function say(message, onUndo) {
	toast.querySelector('p').replaceChildren(...message);
	toast.classList.toggle('shown', message.length > 0);
	undo.hidden = !onUndo;
	undo.onclick = onUndo && (() => {
		undo.onclick = null; // a double click undoes once
		onUndo();
	});
	if (onUndo) undo.focus();
}

on('dismiss', 'click', () => {
	say([]);
	listTitle.focus();
});

// quote returns a name for a sentence: it may be long, and written from right to left.
export const quote = (name) => make('bdi', name.length > 60 ? `${name.slice(0, 59)}…` : name);

// during has a button say what is under way until that is done, and returns its result.
export async function during(button, text, work) {
	const { textContent } = button;
	button.textContent = text;
	button.ariaBusy = 'true';
	try {
		return await work;
	} finally {
		button.textContent = textContent;
		button.ariaBusy = 'false';
	}
}
