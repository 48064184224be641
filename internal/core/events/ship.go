package events

import "context"

// From returns the events after a cursor, oldest first, and the cursor of the
// last of them, so that who hands events on knows where to go on, also when
// there is nothing left; "" is the beginning.
func (l *Log) From(ctx context.Context, after string, limit int) (events []Event, next string, err error) {
	events, next, err = l.Search(ctx, Query{After: after, Limit: limit})
	if err != nil || next != "" {
		return events, next, err
	}
	if len(events) == 0 {
		return nil, after, nil
	}
	// A page that is full names its end: ask for exactly what there is.
	return l.ended(ctx, after, len(events))
}

func (l *Log) ended(ctx context.Context, after string, n int) ([]Event, string, error) {
	list, next, err := l.Search(ctx, Query{After: after, Limit: n})
	if err == nil && next == "" {
		next = after // retention was faster: what is left comes again
	}
	return list, next, err
}
