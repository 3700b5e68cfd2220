// The picture of the goroutine: a waterfall of requests, and below it, to one scale, the
// times of this server and of others.

import { make } from './page.js';

function svg(name, attributes = {}, ...children) {
	const node = document.createElementNS('http://www.w3.org/2000/svg', name);
	for (const [key, value] of Object.entries(attributes)) node.setAttribute(key, value);
	node.append(...children);
	return node;
}

// image is read out as its title, and plot is a part of it with a scale of its own.
const image = (height, title, ...children) => svg('svg', { width: '100%', height, role: 'img', 'aria-label': title }, ...children);
const plot = (y, height, viewBox, ...children) => svg('svg', { y, width: '100%', height, viewBox, preserveAspectRatio: 'none' }, ...children);

export function ms(time) {
	if (time >= 1000) return `${(time / 1000).toFixed(2)} s`;
	return `${time.toFixed(time >= 10 ? 0 : time >= 0.1 ? 1 : 3)} ms`;
}

const axisHeight = 24;

// axis draws the time from 0 to end, in steps of 1, 2 or 5 of a power of ten: lines from
// top to bottom, and their times at textY, if that is not 0.
function axis(end, width, textY, top, bottom) {
	const rough = end / Math.max(2, Math.min(10, width / 60));
	const power = 10 ** Math.floor(Math.log10(rough));
	const step = [1, 2, 5, 10].map((n) => n * power).find((n) => n >= rough);
	const marks = [];
	for (let time = 0; time < end; time += step) {
		const x = `${(time * 100) / end}%`;
		marks.push(svg('line', { x1: x, x2: x, y1: top, y2: bottom, class: 'tick' }));
		// The last would not fit.
		if (textY && (time === 0 || (1 - time / end) * width > 30)) {
			const text = time === 0 ? '0' : step >= 100 ? `${Number((time / 1000).toFixed(1))} s` : `${Number(time.toPrecision(3))} ms`;
			marks.push(svg('text', { x, y: textY, 'text-anchor': time === 0 ? 'start' : 'middle' }, text));
		}
	}
	return marks;
}

// draw makes a waterfall of count requests on their way, to the scale of the time passed.
export function draw(picture, count) {
	const height = Math.round(count * Math.max(3, Math.min(14, 420 / count)));
	const rows = Array.from({ length: count }, (_, i) => svg('g', {}, svg('line', { x1: 0, x2: '100%', y1: i + 0.5, y2: i + 0.5, class: 'held' })));
	const requests = plot(axisHeight, height, '0 0 1 1', ...rows);
	const marks = svg('g');
	const root = image(axisHeight + height, 'Requests on their way', marks, requests);
	picture.replaceChildren(root);

	let frame;
	const scale = (end) => {
		requests.setAttribute('viewBox', `0 0 ${end} ${count}`); // 1 ms across, a request down
		marks.replaceChildren(...axis(end, root.clientWidth, 12, 18, axisHeight + height));
	};
	const stop = () => cancelAnimationFrame(frame);
	return {
		stop,
		start(time) {
			const follow = () => {
				scale(Math.max(1, performance.now() - time));
				frame = requestAnimationFrame(follow);
			};
			if (matchMedia('(prefers-reduced-motion: reduce)').matches) scale(1000);
			else follow();
		},
		add(i, row) {
			let x = row.out;
			rows[i].firstElementChild.setAttribute('x2', x);
			if (row.failed) rows[i].classList.add('failed');
			for (const [part, width] of row.failed ? [['', row.end - x]] : ['queue', 'process', 'rest'].map((part) => [part, row[part]])) {
				rows[i].append(bar(part, x, width, i));
				x += width;
			}
		},
		finish(end, label) {
			stop();
			scale(end);
			root.setAttribute('aria-label', label);
		},
	};
}

const bar = (kind, x, width, y, height = 0.76) => svg('rect', { x, width, y: y + (1 - height) / 2, height, class: kind });

// area draws a number over time, to the scale of the waterfall.
export function area(picture, title, steps, peak, end) {
	const [label, height] = [36, 64];
	const path = steps.map(([time, number]) => `H${time}V${peak - number}`).join('');
	const root = image(label + height, `${title}: at most ${peak}`,
		svg('text', { y: label - 10, class: 'name' }, `${title}: at most `, svg('tspan', { class: 'value' }, peak)),
		plot(label, height, `0 0 ${end} ${peak}`, svg('path', { d: `M0,${peak}${path}H${end}V${peak}Z`, class: 'hands' })));
	picture.append(root);
	root.prepend(...axis(end, root.clientWidth, 0, label, label + height));
}

export function share(picture, title, batches) {
	const blocks = make('ul', '', { className: 'batches', ariaLabel: title });
	for (const numbers of batches) {
		const block = make('li', '', { title: `Requests ${numbers.join(', ')}` });
		block.append(make('b', numbers.length), ...numbers.map(() => make('i')));
		blocks.append(block);
	}
	picture.append(make('p', title, { className: 'title' }), blocks);
}

// compare draws the times of servers, to one scale. magnified is the time of the waterfall
// above, if there is one: a wedge leads from it to its length on this scale.
export function compare(picture, servers, magnified) {
	const [wedge, label, thick, gap] = [magnified ? 36 : 12, 20, 24, 16];
	const bottom = wedge + servers.length * (label + thick + gap);
	const end = Math.max(...servers.map(({ total }) => total));
	const root = image(bottom + axisHeight, servers.map(({ name, how, total }) => `${name}: ${ms(total)}, ${how}`).join('; '));
	picture.append(root);
	if (magnified) root.append(plot(0, wedge + label, '0 0 100 1', svg('polygon', { points: `0,0 100,0 ${(100 * magnified) / end},1 0,1`, class: 'wedge' })));
	root.append(...axis(end, root.clientWidth, bottom + 14, wedge + label, bottom));
	servers.forEach(({ name, how, total, loops, bars }, i) => {
		const y = wedge + i * (label + thick + gap);
		root.append(
			svg('text', { y: y + 14, class: 'name' }, `${name} `, svg('tspan', { class: 'value' }, ms(total)), ` ${how}`),
			plot(y + label, thick, `0 0 ${end} ${loops}`, svg('g', { class: 'grow' }, ...bars.map(({ kind, x, width, loop }) => bar(kind, x, width, loop, loops > 1 ? 0.8 : 1)))),
		);
	});
}
