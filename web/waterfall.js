// The picture of the goroutine: a waterfall of requests, and below it the same time
// beside what others would have needed, to one scale.

const namespace = 'http://www.w3.org/2000/svg';

function svg(name, attributes = {}, ...children) {
	const node = document.createElementNS(namespace, name);
	for (const [key, value] of Object.entries(attributes)) node.setAttribute(key, value);
	node.append(...children);
	return node;
}

// ms writes a duration with three digits or so.
export function ms(time) {
	if (time >= 1000) return `${(time / 1000).toFixed(2)} s`;
	if (time >= 10) return `${Math.round(time)} ms`;
	return time >= 0.1 ? `${time.toFixed(1)} ms` : `${time.toFixed(3)} ms`;
}

const axisHeight = 24;

// axis draws the time from 0 to end, in steps of 1, 2 or 5 of a power of ten: lines from
// top to bottom, and their times beside the one or the other.
function axis(end, width, textY, top, bottom) {
	const rough = end / Math.max(2, Math.min(10, width / 60));
	const power = 10 ** Math.floor(Math.log10(rough));
	const step = [1, 2, 5, 10].map((n) => n * power).find((n) => n >= rough);
	const marks = [];
	for (let time = 0; time < end; time += step) {
		const x = `${(time * 100) / end}%`;
		marks.push(svg('line', { x1: x, x2: x, y1: top, y2: bottom, class: 'tick' }));
		const text = time === 0 ? '0' : step >= 100 ? `${Number((time / 1000).toFixed(1))} s` : `${Number(time.toPrecision(3))} ms`;
		// The last would not fit.
		if (time === 0 || (1 - time / end) * width > 30) {
			marks.push(svg('text', { x, y: textY, 'text-anchor': time === 0 ? 'start' : 'middle' }, text));
		}
	}
	return marks;
}

// draw makes a waterfall of count requests that are all on their way. Its scale is
// that of the time that has passed.
export function draw(picture, count) {
	const height = Math.round(count * Math.max(3, Math.min(14, 420 / count)));
	// Within it, a unit is 1 ms across and a request down.
	const plot = svg('svg', { y: axisHeight, width: '100%', height, preserveAspectRatio: 'none' });
	const rows = Array.from({ length: count }, (_, i) => {
		const line = svg('line', { x1: 0, x2: '100%', y1: i + 0.5, y2: i + 0.5, class: 'held' });
		const row = svg('g', {}, line);
		plot.append(row);
		return row;
	});
	const marks = svg('g');
	const root = svg('svg', { width: '100%', height: axisHeight + height, role: 'img', 'aria-label': 'Requests on their way' }, marks, plot);
	picture.replaceChildren(root);

	let frame;
	const scale = (end) => {
		plot.setAttribute('viewBox', `0 0 ${end} ${count}`);
		marks.replaceChildren(...axis(end, root.clientWidth, 12, 18, axisHeight + height));
	};
	return {
		start(time) {
			const follow = () => {
				scale(Math.max(1, performance.now() - time));
				frame = requestAnimationFrame(follow);
			};
			if (matchMedia('(prefers-reduced-motion: reduce)').matches) scale(1000);
			else follow();
		},
		add(i, row) {
			const line = rows[i].firstElementChild;
			line.setAttribute('x2', row.out);
			if (row.failed) {
				rows[i].classList.add('failed');
				rows[i].append(bar('', row.out, row.end - row.out, i));
				return;
			}
			let x = row.out;
			for (const part of ['queue', 'process', 'rest']) {
				rows[i].append(bar(part, x, row[part], i));
				x += row[part];
			}
		},
		stop: () => cancelAnimationFrame(frame),
		finish(end, label) {
			cancelAnimationFrame(frame);
			scale(end);
			root.setAttribute('aria-label', label);
		},
	};
}

const bar = (kind, x, width, y, height = 0.76) => svg('rect', { x, width, y: y + (1 - height) / 2, height, class: kind });

// compare draws how long each server takes for the same, to one scale; the first is this
// one. What spreads between it and the waterfall shows how much that magnifies.
export function compare(picture, servers) {
	const [wedge, label, thick, gap] = [36, 20, 24, 16];
	const bottom = wedge + servers.length * (label + thick + gap);
	const end = Math.max(...servers.map((server) => server.total));
	const share = (100 * servers[0].total) / end;
	const root = svg('svg', { width: '100%', height: bottom + axisHeight, role: 'img' });
	picture.append(root);
	root.setAttribute('aria-label', servers.map(({ name, how, total }) => `${name}: ${ms(total)}, ${how}`).join('; '));
	root.append(
		svg('svg', { width: '100%', height: wedge + label, viewBox: '0 0 100 1', preserveAspectRatio: 'none' },
			svg('polygon', { points: `0,0 100,0 ${share},1 0,1`, class: 'wedge' })),
		...axis(end, root.clientWidth, bottom + 14, wedge + label, bottom),
	);
	servers.forEach(({ name, how, total, loops, bars }, i) => {
		const y = wedge + i * (label + thick + gap);
		root.append(
			svg('text', { y: y + 14, class: 'name' }, `${name} `, svg('tspan', { class: 'value' }, ms(total)), ` ${how}`),
			svg('svg', { y: y + label, width: '100%', height: thick, viewBox: `0 0 ${end} ${loops}`, preserveAspectRatio: 'none' },
				svg('g', { class: 'grow' }, ...bars.map(({ kind, x, width, loop }) => bar(kind, x, width, loop, loops > 1 ? 0.8 : 1)))),
		);
	});
}
