// Orders of a shop, for mongosh: placed, paid and now and then cancelled, without end.
const names = ['Ada', 'Grace', 'Barbara', 'Edgar', 'Donald'];
let order = db.orders.countDocuments();
while (true) {
	order++;
	db.orders.insertOne({_id: order, status: 'placed', total: 10 + order % 90, customer: {name: names[order % names.length]}});
	if (order > 3)
		db.orders.updateOne({_id: order - 3}, {$set: {status: order % 7 ? 'paid' : 'cancelled'}});
	sleep(500);
}
