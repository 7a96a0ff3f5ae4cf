/*
 * event/columns.c
 *	  The columns of events as tables, made of the list in event/event.h.
 */
#include "mongo_change_stream.h"

#include "base/base.h"
#include "event/event.h"

#define EVENT_COLUMN_INFO(symbol, column_name, column_type, declaration, of_document, mongo_path, ...) \
	[EVENT_##symbol] = {.name = #column_name, .type = column_type, .has_fields = of_document, .path = mongo_path, .fields = {__VA_ARGS__}},

const EventColumnInfo mcs_event_columns[EVENT_COLUMNS] = {
	EVENT_COLUMN_LIST(EVENT_COLUMN_LEFT_OUT, EVENT_COLUMN_INFO)
};

#define ROW_COLUMN_INFO(symbol, column_name, column_type, column_declaration, ...) \
	[ROW_##symbol] = {.name = #column_name, .type = column_type, .declaration = column_declaration},

const RowColumnInfo mcs_event_row_columns[ROW_COLUMNS] = {
	EVENT_COLUMN_LIST(ROW_COLUMN_INFO, ROW_COLUMN_INFO)
};

const char *
mcs_event_column_names(void)
{
	/* without the first separator */
	return &EVENT_COLUMN_NAMES[strlen(", ")];
}

Oid
mcs_event_column_type(Oid listed)
{
	return OidIsValid(listed) ? listed : mcs_extension_document();
}

bool
mcs_event_has_column_for(const char *field)
{
	size_t		length = strlen(field);

	for (int i = 0; i < EVENT_COLUMNS; i++)
	{
		const char *path = mcs_event_columns[i].path;

		if (path && strncmp(path, field, length) == 0 && (path[length] == '\0' || path[length] == '.'))
			return true;
	}
	return false;
}
