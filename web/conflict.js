// Two users have changed the same car: one of them decides.

import { fields, get, show } from './fields.js';
import { element, make, quote, value } from './page.js';

const dialog = element('conflict');

// resolve shows the car as it was when the user read it, as it is now (current) and, by path,
// the user's changes. Without changes, the user wants to delete it. It returns 'mine',
// 'theirs', or '' for neither.
export function resolve(read, current, changes) {
	dialog.querySelector('p').replaceChildren(quote(read.name),
		` was changed after you read it. Nothing of yours has been ${changes ? 'saved' : 'done'} yet.`);
	element('take-theirs').textContent = changes ? 'Drop my changes' : 'Keep it';
	element('keep-mine').textContent = changes ? 'Save mine over it' : 'Delete it all the same';
	dialog.querySelector('th:last-child').hidden = !changes;
	dialog.querySelector('tbody').replaceChildren(...fields.flatMap(({ path, label }) => {
		const [before, now, mine] = [get(read, path), get(current, path), changes?.[path]];
		if (before === now && mine === undefined) return [];
		const row = make('tr');
		row.append(make('th', label, { scope: 'row' }), ...[before, now, mine].map((text) => value('td', show(path, text))));
		row.cells[2].classList.toggle('changed', before !== now);
		row.cells[3].classList.toggle('changed', mine !== undefined);
		row.cells[3].hidden = !changes;
		return [row];
	}));
	dialog.returnValue = '';
	dialog.showModal();
	return new Promise((decide) => {
		dialog.addEventListener('close', () => decide(dialog.returnValue), { once: true });
	});
}
