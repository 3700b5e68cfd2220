// The fields of a car, and how they are shown and compared.

export const fields = [
	{ path: 'name', label: 'Name', required: true },
	{ path: 'manufacturer', label: 'Manufacturer', required: true, suggest: true },
	{ path: 'category', label: 'Category', suggest: true },
	{ path: 'year', label: 'Year', number: true },
	{ path: 'price', label: 'Price in USD', number: true },
	{ path: 'imageUrl', label: 'Picture' },
	{ path: 'details.engine', label: 'Engine' },
	{ path: 'details.horsepower', label: 'Horsepower', number: true },
	{ path: 'details.transmission', label: 'Transmission' },
	{ path: 'details.drivetrain', label: 'Drivetrain' },
];

export const address = (id) => `api/cars/${id}`;

export const get = (car, path) => path.split('.').reduce((value, key) => value?.[key], car);

export const differing = (a, b) => fields.filter(({ path }) => get(a, path) !== get(b, path));

export const labels = (fields) => fields.map(({ label }) => label.replace(' in USD', '').toLowerCase()).join(', ');

// nest turns { 'details.horsepower': 201 } into { details: { horsepower: 201 } }.
export function nest(values) {
	const car = {};
	for (const [path, value] of Object.entries(values)) {
		const [key, inner] = path.split('.');
		if (inner) (car[key] ??= {})[inner] = value;
		else car[key] = value;
	}
	return car;
}

export const count = (number) => number.toLocaleString('en-US');

export const counted = (number, one, many = `${one}s`) => `${count(number)} ${number === 1 ? one : many}`;

// show returns a value as people write it; '' if there is none.
export function show(path, value) {
	if (!value) return '';
	if (path === 'price') return `$${count(value)}`;
	return path === 'details.horsepower' ? count(value) : String(value);
}

// picture has img show a car. Only pictures on this server are loaded: others would
// learn who looks at what.
export function picture(img, car) {
	const general = 'images/car.svg';
	const slug = car.category?.toLowerCase().replace(/[^a-z0-9]+/g, '-').replace(/^-|-$/g, '');
	const src = /^\/(?![/\\])/.test(car.imageUrl) ? car.imageUrl.slice(1) : slug ? `images/${slug}.svg` : general;
	img.onerror = () => {
		img.onerror = null;
		img.src = general;
	};
	if (img.getAttribute('src') !== src) img.src = src;
}
