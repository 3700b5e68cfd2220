// What all parts of the page share: its elements, and the notice at its edge.

export const element = (id) => document.getElementById(id);

const toast = element('toast');
const undo = element('undo');

// say tells what has happened, and offers to undo it. It stays until it is dismissed or
// something else happens.
export function say(message, onUndo) {
	toast.querySelector('p').textContent = message;
	toast.classList.toggle('shown', Boolean(message));
	undo.hidden = !onUndo;
	undo.onclick = onUndo && (() => {
		undo.onclick = null; // once: a double click must not undo twice
		onUndo();
	});
	if (onUndo) undo.focus();
}

element('dismiss').addEventListener('click', () => {
	say('');
	element('catalogue-title').focus();
});
